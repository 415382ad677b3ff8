#pragma once

#include <cstdint>

#include "cache/packed_score.h"

// How one cache entry (the K and V of one layer and KV head) lies in a page of the pool.
//
// page = [K block][V block][EntryMeta x entries][slack]
// block = [rows: entries x head_dim]                             f32, bf16
//         [rows: entries x head_dim][bf16 scales: entries]       int8
//
// A page belongs to one (session, layer, KV head); forks may have it in common. The decode kernels
// read K and V through raw page addresses and the offsets given here; the metadata is the cache's
// own.

namespace concertina {

// kInt8: signed bytes times one scale per vector, the largest magnitude being 127 of them.
// kPacked: bf16 rows and packed groups of fewer bits, as the budget demands (cache/precision). Not
// the type of a page.
enum class EntryType { kF32, kBf16, kInt8, kPacked };

// The type of entries that are not in groups.
inline EntryType RowType(EntryType type) {
  return type == EntryType::kPacked ? EntryType::kBf16 : type;
}

// Bytes of one stored element, and of the scale that goes with a vector of them.
int64_t ElementBytes(EntryType type);
int64_t ScaleBytes(EntryType type);

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
  // K and V of one entry with their scales.
  int64_t entry_payload_bytes() const { return 2 * (row_bytes_ + ScaleBytes(type_)); }
  // K, V, scales and metadata of one entry.
  int64_t entry_bytes() const {
    return entry_payload_bytes() + static_cast<int64_t>(sizeof(EntryMeta));
  }
  // How many entries the bytes of one bf16 entry's K and V buy; 1 for f32, whose budgets count
  // entries.
  double entries_per_bf16_entry() const;

  // One vector of the entry at `slot` of a page, converted to and from its stored form: bf16 and
  // int8 round to nearest, ties to even.
  void StoreKey(const float* k, int64_t slot, uint8_t* page) const { Store(k, 0, slot, page); }
  void StoreValue(const float* v, int64_t slot, uint8_t* page) const {
    Store(v, v_offset_, slot, page);
  }
  void LoadKey(const uint8_t* page, int64_t slot, float* k) const { Load(page, 0, slot, k); }
  void LoadValue(const uint8_t* page, int64_t slot, float* v) const {
    Load(page, v_offset_, slot, v);
  }
  // Copies K, V and metadata as they are stored.
  void CopyEntry(const uint8_t* from_page, int64_t from, uint8_t* to_page, int64_t to) const;

  // Pages that hold `entries` entries of one head.
  int64_t PagesFor(int64_t entries) const {
    return (entries + entries_per_page_ - 1) / entries_per_page_;
  }

 private:
  void Store(const float* x, int64_t block, int64_t slot, uint8_t* page) const;
  void Load(const uint8_t* page, int64_t block, int64_t slot, float* x) const;
  // Of a block: where its scales begin.
  int64_t scales() const { return entries_per_page_ * row_bytes_; }

  EntryType type_;
  int64_t head_dim_;
  int64_t page_bytes_;
  int64_t row_bytes_;  // of one K or V vector without its scale
  int64_t entries_per_page_;
  int64_t v_offset_;
  int64_t meta_offset_;
};

// The page size of a model's pool: four bf16 entries. The same page takes two f32 entries or seven
// int8 ones (of 64 dimensions), so sessions of all kinds share one pool.
int64_t PageBytesFor(CacheShape shape);

}  // namespace concertina
