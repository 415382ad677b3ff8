#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace concertina {

// K and V of all sessions and layers in one tensor on the device: [pages][2][entries][head_dim],
// K before V. Seen as rows of head_dim, entry e of page p is row (2p) * entries + e for K and
// (2p + 1) * entries + e for V.
struct PageStore {
  at::Tensor rows;  // [pages * 2 * entries_per_page, head_dim]
  int64_t entries_per_page = 1;
};

// What one layer keeps beside the pages, for every row of the batch (a session each) and KV head.
// Entries fill their slots without gaps: slot s is entry s % entries_per_page of the s /
// entries_per_page-th page. All heads of a row hold the same number of entries, which the host
// knows. `capacity` is a multiple of entries_per_page.
struct PagedLayer {
  at::Tensor table;  // i32 [rows, kv_heads, capacity / entries_per_page]: pages
  // Undefined for a policy that drops nothing: slots are in birth order and S is not needed.
  at::Tensor order;   // i32 [rows, kv_heads, capacity]: slots by ascending birth
  at::Tensor scores;  // f32 [rows, kv_heads, capacity]: S by slot
  at::Tensor birth;   // i32 [rows, kv_heads, capacity] by slot
  at::Tensor mass;    // i32 [rows, kv_heads, capacity] by slot

  int64_t capacity(const PageStore& store) const { return table.size(2) * store.entries_per_page; }
  bool keeps_scores() const { return scores.defined(); }
};

// Makes the tensors of a layer large enough for `entries` entries (rounded up to `step`, a multiple
// of entries_per_page), keeping what they hold. True when they are other tensors than before.
bool GrowLayer(const PageStore& store, int64_t rows, int64_t kv_heads, int64_t entries,
               int64_t step, bool keeps_scores, PagedLayer* layer);

// Rows of the store in which the K of slots lie (V: entries_per_page further on). slots: i64 [rows,
// kv_heads, n]; table: of the same rows. i64 [rows, kv_heads, n].
at::Tensor StoreRows(const PageStore& store, const at::Tensor& table, const at::Tensor& slots);

// One new entry per row and head in slot `slots` [rows] i32: k, v [rows, kv_heads, head_dim], birth
// = births [rows] i32, S 0, mass 1, the newest in birth order.
void AppendEntries(const PageStore& store, const at::Tensor& k, const at::Tensor& v,
                   const at::Tensor& slots, const at::Tensor& births, PagedLayer* layer);

// One session's entries of a layer in birth order; heads first.
struct LayerEntries {
  at::Tensor k, v;   // [kv_heads, n, head_dim]
  at::Tensor score;  // f32 [kv_heads, n]
  at::Tensor birth;  // i32 [kv_heads, n]
  at::Tensor mass;   // i32 [kv_heads, n]
};

// Those from the first-th of every head on.
LayerEntries EntriesFrom(const LayerEntries& all, int64_t first);

// The n entries of one row; score, birth and mass only where the layer keeps them.
LayerEntries ReadEntries(const PageStore& store, const PagedLayer& layer, int64_t row, int64_t n);

// Writes entries to slots first .. first + n - 1 of one row, in the order given.
void WriteEntries(const PageStore& store, const LayerEntries& entries, int64_t row, int64_t first,
                  PagedLayer* layer);

}  // namespace concertina
