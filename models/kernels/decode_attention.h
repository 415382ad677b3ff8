#pragma once

#include <cstdint>
#include <span>

#include "absl/functional/function_ref.h"
#include "cache/precision/packed_group.h"
#include "models/kernels/kv_type.h"
#include "models/kernels/workspace.h"

namespace concertina {

// The K/V entries of one (session, layer, key head): entry e is slot e % entries_per_page of page
// e / entries_per_page. Pages may lie anywhere.
struct PagedHead {
  const uint8_t* const* pages = nullptr;
  int64_t entries = 0;
  int64_t entries_per_page = 1;
};

// Where K and V lie in a page: blocks [entries_per_page][head_dim] of `type`, `k_offset` and
// `v_offset` bytes after the page's start; with kInt8, each is followed by [entries_per_page] bf16
// scales. Any alignment works.
struct PageLayout {
  int64_t head_dim = 0;
  KvType type = KvType::kF32;
  int64_t k_offset = 0;
  int64_t v_offset = 0;
};

// More entries of the same head, packed. `present`: of each group, bit i for entry i; others get no
// attention.
struct PackedHead {
  const GroupLayout* layout = nullptr;
  const uint8_t* const* groups = nullptr;  // addresses of any alignment
  const uint32_t* present = nullptr;
  int64_t count = 0;  // groups
};

// One query token's attention over one key head's entries (all are visible), for the `group` query
// heads that share it. At least one entry in all.
//
// Entries have slots: 32 for each packed group, of each kind a multiple of 64, then those in pages.
// Slots without an entry get no attention.
struct DecodeItem {
  PagedHead head;
  const float* q = nullptr;  // [group, head_dim], already rotated
  int64_t group = 1;
  float* out = nullptr;         // [group, head_dim]
  float* score_sums = nullptr;  // null, or [slots]: += mean over the group of the probability
  const float* bias = nullptr;  // null, or [slots], finite, added to the scaled scores
  PackedHead packed[2] = {};    // kinds of groups
};

// The slots of an item's entries.
int64_t DecodeSlots(const DecodeItem& item);

// Ragged decode attention: items are independent, of any lengths; one long item is spread over the
// threads as well as many short ones. Deterministic: an item's result does not depend on the other
// items, on the number of threads or on where its pages lie. On CPUs with bf16 dot products the
// queries, too, are rounded to bf16 where the keys are.
//
// `finished`: called with the number of an item as soon as nothing will be read of it any more, by
// the thread that had it last, whose caches still hold some of it; for several items at a time.
void DecodeAttention(
    std::span<const DecodeItem> items, const PageLayout& layout, float scale, Workspace& workspace,
    absl::FunctionRef<void(int64_t item)> finished = [](int64_t) {});

// The most bytes of `workspace` that up to so many items of up to so many slots use. More may be
// asked for, which is never touched.
int64_t DecodeScratchBytes(int64_t items, int64_t slots, int64_t group, int64_t head_dim);

}  // namespace concertina
