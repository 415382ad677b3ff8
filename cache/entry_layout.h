#pragma once

#include <cstdint>

#include "cache/packed_score.h"

// How one cache entry (the K and V of one layer and KV head) lies in a page of the pool.
//
// page = [K block: entries x head_dim][V block: entries x head_dim][EntryMeta x entries][slack]
//
// A page belongs to one (session, layer, KV head); forks may have it in common. The decode kernels
// read K and V through raw page addresses and the offsets given here; the metadata is the cache's
// own.

namespace concertina {

enum class EntryType { kF32, kBf16 };

// Bytes of one stored element.
int64_t ElementBytes(EntryType type);

struct CacheShape {
  int32_t layers = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
};

// What is kept of an entry besides K and V. The truth while a session is idle; while it decodes, S
// lives in f32 beside the pages.
struct EntryMeta {
  uint32_t birth;  // index among the tokens the session has seen
  uint16_t score;  // S, attention received so far: PackScore
  uint16_t mass;   // original tokens the entry stands for, saturating
};
static_assert(sizeof(EntryMeta) == 8);

// Offsets and counts in bytes unless named otherwise. Immutable.
class EntryLayout {
 public:
  // REQUIRES: page_bytes holds at least one entry (PageBytesFor always does).
  EntryLayout(CacheShape shape, EntryType type, int64_t page_bytes);

  EntryType type() const { return type_; }
  int64_t head_dim() const { return head_dim_; }
  int64_t page_bytes() const { return page_bytes_; }
  int64_t entries_per_page() const { return entries_per_page_; }
  int64_t k_offset() const { return 0; }
  int64_t v_offset() const { return v_offset_; }
  int64_t meta_offset() const { return meta_offset_; }
  // K and V of one entry.
  int64_t entry_payload_bytes() const { return vector_bytes_ * 2; }
  // K, V and metadata of one entry.
  int64_t entry_bytes() const {
    return vector_bytes_ * 2 + static_cast<int64_t>(sizeof(EntryMeta));
  }
  // One K or V vector.
  int64_t vector_bytes() const { return vector_bytes_; }

  // Pages that hold `entries` entries of one head.
  int64_t PagesFor(int64_t entries) const {
    return (entries + entries_per_page_ - 1) / entries_per_page_;
  }

 private:
  EntryType type_;
  int64_t head_dim_;
  int64_t page_bytes_;
  int64_t vector_bytes_;
  int64_t entries_per_page_;
  int64_t v_offset_;
  int64_t meta_offset_;
};

// The page size of a model's pool: four bf16 entries. A session with f32 entries gets two of them
// into the same page, so both kinds of session share one pool.
int64_t PageBytesFor(CacheShape shape);

// Conversion of one vector to and from its stored form; bf16 rounds to nearest, ties to even.
void StoreVector(EntryType type, const float* values, int64_t count, uint8_t* out);
void LoadVector(EntryType type, const uint8_t* stored, int64_t count, float* out);

}  // namespace concertina
