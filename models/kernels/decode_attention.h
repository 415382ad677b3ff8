#pragma once

#include <cstdint>
#include <span>

#include "models/kernels/workspace.h"

namespace concertina {

// How one key or value element is stored in a page.
enum class KvType { kF32, kBf16 };

// The K/V entries of one (session, layer, key head): entry e is slot e % entries_per_page of page
// e / entries_per_page. Pages may lie anywhere.
struct PagedHead {
  const uint8_t* const* pages = nullptr;
  int64_t entries = 0;
  int64_t entries_per_page = 1;
};

// Where K and V lie in a page: blocks [entries_per_page][head_dim] of `type`, `k_offset` and
// `v_offset` bytes after the page's start. Any alignment works; 64 bytes is fastest.
struct PageLayout {
  int64_t head_dim = 0;
  KvType type = KvType::kF32;
  int64_t k_offset = 0;
  int64_t v_offset = 0;
};

// One query token's attention over one key head's entries (all are visible), for the `group` query
// heads that share it. entries >= 1.
struct DecodeItem {
  PagedHead head;
  const float* q = nullptr;  // [group, head_dim], already rotated
  int64_t group = 1;
  float* out = nullptr;         // [group, head_dim]
  float* score_sums = nullptr;  // null, or [entries]: += mean over the group of the probability
  const float* bias = nullptr;  // null, or [entries], added to the scaled scores
};

// Ragged decode attention: items are independent, of any lengths, and go parallel. Deterministic:
// an item's result does not depend on the other items or on where its pages lie.
void DecodeAttention(std::span<const DecodeItem> items, const PageLayout& layout, float scale,
                     Workspace& workspace);

// Writes one entry (k and v, [head_dim] each) to `slot` of `page`; kBf16 rounds to nearest, ties to
// even. Thread-safe for different slots.
void StoreEntry(uint8_t* page, int64_t slot, const PageLayout& layout, const float* k,
                const float* v);

// Reads it back as f32. k or v may be null.
void LoadEntry(const uint8_t* page, int64_t slot, const PageLayout& layout, float* k, float* v);

}  // namespace concertina
