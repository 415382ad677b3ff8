#include "models/tensor/paged_layer.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

namespace concertina {
namespace {

void GrowTo(int64_t rows, int64_t kv_heads, int64_t columns, const at::TensorOptions& options,
            at::Tensor* tensor) {
  at::Tensor larger = at::zeros({rows, kv_heads, columns}, options);
  if (tensor->defined()) larger.narrow(2, 0, tensor->size(2)).copy_(*tensor);
  *tensor = larger;
}

// K's rows [..., n] of a store as [..., n, head_dim].
at::Tensor Take(const PageStore& store, const at::Tensor& rows) {
  return store.rows.index_select(0, rows.flatten())
      .view({rows.size(0), rows.size(1), rows.size(2), store.rows.size(1)});
}

at::Tensor RowOf(const at::Tensor& tensor, int64_t row, int64_t first, int64_t n) {
  return tensor.narrow(0, row, 1).narrow(2, first, n);
}

at::Tensor Slots(int64_t first, int64_t n, int64_t kv_heads, const at::Device& device) {
  return at::arange(first, first + n, at::TensorOptions(device).dtype(at::kLong))
      .expand({1, kv_heads, n});
}

}  // namespace

bool GrowLayer(const PageStore& store, int64_t rows, int64_t kv_heads, int64_t entries,
               int64_t step, bool keeps_scores, PagedLayer* layer) {
  if (layer->table.defined() && entries <= layer->capacity(store)) return false;
  const int64_t capacity = (std::max<int64_t>(entries, 1) + step - 1) / step * step;
  const at::TensorOptions ints = store.rows.options().dtype(at::kInt);
  GrowTo(rows, kv_heads, capacity / store.entries_per_page, ints, &layer->table);
  if (!keeps_scores) return true;
  GrowTo(rows, kv_heads, capacity, ints, &layer->order);
  GrowTo(rows, kv_heads, capacity, ints.dtype(at::kFloat), &layer->scores);
  GrowTo(rows, kv_heads, capacity, ints, &layer->birth);
  GrowTo(rows, kv_heads, capacity, ints, &layer->mass);
  return true;
}

at::Tensor StoreRows(const PageStore& store, const at::Tensor& table, const at::Tensor& slots) {
  const int64_t entries = store.entries_per_page;
  const at::Tensor within = slots.remainder(entries);
  const at::Tensor page = slots.sub(within).div(entries, "trunc");
  return table.gather(2, page).to(at::kLong).mul_(2 * entries).add_(within);
}

void AppendEntries(const PageStore& store, const at::Tensor& k, const at::Tensor& v,
                   const at::Tensor& slots, const at::Tensor& births, PagedLayer* layer) {
  const int64_t kv_heads = k.size(1);
  const auto for_heads = [&](const at::Tensor& per_row) {
    return per_row.view({-1, 1, 1}).expand({per_row.size(0), kv_heads, 1});
  };
  const at::Tensor at = for_heads(slots.to(at::kLong));
  const at::Tensor rows = StoreRows(store, layer->table, at).flatten();
  at::Tensor store_rows = store.rows;
  store_rows.index_copy_(0, rows, k.reshape({-1, k.size(2)}));
  store_rows.index_copy_(0, rows.add(store.entries_per_page), v.reshape({-1, v.size(2)}));
  if (!layer->keeps_scores()) return;
  layer->order.scatter_(2, at, for_heads(slots));
  layer->scores.scatter_(2, at, 0.0);
  layer->birth.scatter_(2, at, for_heads(births));
  layer->mass.scatter_(2, at, 1);
}

LayerEntries EntriesFrom(const LayerEntries& all, int64_t first) {
  const auto rest = [first](const at::Tensor& values) {
    return values.defined() ? values.narrow(1, first, values.size(1) - first) : values;
  };
  return {.k = rest(all.k),
          .v = rest(all.v),
          .score = rest(all.score),
          .birth = rest(all.birth),
          .mass = rest(all.mass)};
}

LayerEntries ReadEntries(const PageStore& store, const PagedLayer& layer, int64_t row, int64_t n) {
  const int64_t kv_heads = layer.table.size(1);
  const at::Tensor slots = layer.keeps_scores() ? RowOf(layer.order, row, 0, n).to(at::kLong)
                                                : Slots(0, n, kv_heads, store.rows.device());
  const at::Tensor rows = StoreRows(store, layer.table.narrow(0, row, 1), slots);
  LayerEntries entries{.k = Take(store, rows).squeeze(0),
                       .v = Take(store, rows.add(store.entries_per_page)).squeeze(0)};
  if (!layer.keeps_scores()) return entries;
  const auto by_birth = [&](const at::Tensor& by_slot) {
    return by_slot.narrow(0, row, 1).gather(2, slots).squeeze(0);
  };
  entries.score = by_birth(layer.scores);
  entries.birth = by_birth(layer.birth);
  entries.mass = by_birth(layer.mass);
  return entries;
}

void WriteEntries(const PageStore& store, const LayerEntries& entries, int64_t row, int64_t first,
                  PagedLayer* layer) {
  const int64_t kv_heads = entries.k.size(0);
  const int64_t n = entries.k.size(1);
  const int64_t head_dim = entries.k.size(2);
  const at::Tensor slots = Slots(first, n, kv_heads, store.rows.device());
  const at::Tensor rows = StoreRows(store, layer->table.narrow(0, row, 1), slots).flatten();
  at::Tensor store_rows = store.rows;
  const auto to_store = [&](const at::Tensor& values) {
    return values.reshape({-1, head_dim}).to(store.rows.scalar_type());
  };
  store_rows.index_copy_(0, rows, to_store(entries.k));
  store_rows.index_copy_(0, rows.add(store.entries_per_page), to_store(entries.v));
  if (!layer->keeps_scores()) return;
  RowOf(layer->order, row, first, n).copy_(slots);
  RowOf(layer->scores, row, first, n).copy_(entries.score.unsqueeze(0));
  RowOf(layer->birth, row, first, n).copy_(entries.birth.unsqueeze(0));
  RowOf(layer->mass, row, first, n).copy_(entries.mass.unsqueeze(0));
}

}  // namespace concertina
