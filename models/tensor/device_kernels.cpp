#include "models/tensor/device_kernels.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <limits>

#ifdef CONCERTINA_CUDA
#include "models/cuda/cuda_kernels.h"
#endif

namespace concertina {
namespace {

// Bytes of keys and values gathered at a time: the cache's size on a CPU, enough work on a GPU.
constexpr int64_t kGatherBytesCpu = int64_t{4} << 20;
constexpr int64_t kGatherBytesGpu = int64_t{256} << 20;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// K or V of the first `slots` slots of some rows: f32 [rows, kv_heads, slots, head_dim].
struct Gathered {
  at::Tensor k, v;
};

Gathered Gather(const PageStore& store, const at::Tensor& table) {
  const int64_t rows = table.size(0);
  const int64_t kv_heads = table.size(1);
  const int64_t entries = store.entries_per_page;
  const int64_t head_dim = store.rows.size(1);
  const at::Tensor pages = store.rows.view({-1, 2, entries, head_dim})
                               .index_select(0, table.flatten())
                               .view({rows, kv_heads, table.size(2), 2, entries, head_dim});
  const auto part = [&](int64_t which) {
    return pages.select(3, which)
        .reshape({rows, kv_heads, table.size(2) * entries, head_dim})
        .to(at::kFloat);
  };
  return {.k = part(0), .v = part(1)};
}

// Rows [first, first + count) of the batch.
void AttendRows(const PagedAttentionArgs& args, int64_t first, int64_t count, int64_t pages,
                const at::Tensor& out) {
  const int64_t kv_heads = args.layer->table.size(1);
  const int64_t head_dim = args.q.size(2);
  const int64_t group = args.q.size(1) / kv_heads;
  const Gathered entries =
      Gather(*args.store, args.layer->table.narrow(0, first, count).narrow(2, 0, pages));
  const int64_t slots = entries.k.size(2);
  const at::Tensor q =
      args.q.narrow(0, first, count).reshape({count, kv_heads, group, head_dim}).to(at::kFloat);
  at::Tensor p = at::matmul(q, entries.k.transpose(2, 3)).mul_(args.scale);
  const at::Tensor beyond = at::arange(slots, args.lengths.options())
                                .ge(args.lengths.narrow(0, first, count).unsqueeze(1))
                                .view({count, 1, 1, slots});
  p = p.masked_fill_(beyond, -kInfinity).softmax(3);
  // Pages of another session's past may lie beyond the length; 0 x NaN would spoil the sum.
  const at::Tensor v = entries.v.masked_fill(beyond.view({count, 1, slots, 1}), 0.0);
  out.narrow(0, first, count).copy_(at::matmul(p, v).view({count, kv_heads * group, head_dim}));
  if (args.layer->keeps_scores()) {
    args.layer->scores.narrow(0, first, count).narrow(2, 0, slots).add_(p.mean(2));
  }
}

at::Tensor GenericPagedAttention(const PagedAttentionArgs& args) {
  const int64_t rows = args.q.size(0);
  const int64_t kv_heads = args.layer->table.size(1);
  const int64_t entries = args.store->entries_per_page;
  const int64_t pages = (args.longest + entries - 1) / entries;
  const int64_t row_bytes =
      kv_heads * pages * entries * 2 * args.q.size(2) * static_cast<int64_t>(sizeof(float));
  const int64_t limit = args.q.is_cpu() ? kGatherBytesCpu : kGatherBytesGpu;
  const int64_t chunk = std::clamp<int64_t>(limit / row_bytes, 1, rows);
  at::Tensor out = at::empty(args.q.sizes(), args.q.options());
  for (int64_t first = 0; first < rows; first += chunk) {
    AttendRows(args, first, std::min(chunk, rows - first), pages, out);
  }
  return out;
}

// Copies slot `from` to slot `to` (i64 [rows, kv_heads, 1]) in every row and head.
void MoveEntries(const PageStore& store, const at::Tensor& from, const at::Tensor& to,
                 PagedLayer* layer) {
  const at::Tensor source = StoreRows(store, layer->table, from).flatten();
  const at::Tensor target = StoreRows(store, layer->table, to).flatten();
  at::Tensor rows = store.rows;
  for (const int64_t offset : {int64_t{0}, store.entries_per_page}) {
    rows.index_copy_(0, target.add(offset), rows.index_select(0, source.add(offset)));
  }
  for (at::Tensor* by_slot : {&layer->scores, &layer->birth, &layer->mass}) {
    by_slot->scatter_(2, to, by_slot->gather(2, from));
  }
}

void GenericEvict(const EvictArgs& args) {
  PagedLayer& layer = *args.layer;
  const auto per_row = [](const at::Tensor& values) {
    return values.to(at::kLong).view({-1, 1, 1});
  };
  at::Tensor lengths = per_row(args.lengths);
  const at::Tensor index = at::arange(layer.order.size(2), lengths.options()).view({1, 1, -1});
  for (int64_t round = 0; round < args.rounds; ++round) {
    const at::Tensor begin = per_row(args.ranges.select(0, round).select(0, 0));
    const at::Tensor end = per_row(args.ranges.select(0, round).select(0, 1));
    const at::Tensor active = begin.lt(end);
    const at::Tensor order = layer.order.to(at::kLong);
    const at::Tensor eligible = index.ge(begin).logical_and_(index.lt(end));
    const at::Tensor victim = layer.scores.gather(2, order)
                                  .masked_fill_(eligible.logical_not(), kInfinity)
                                  .argmin(2, /*keepdim=*/true);
    const at::Tensor last = lengths.sub(1).expand_as(victim);
    const at::Tensor hole = at::where(active, order.gather(2, victim), last);
    MoveEntries(*args.store, last, hole, &layer);
    // Later entries move up in the order; the entry that moved is found at its new slot.
    const at::Tensor next = index.add(index.ge(victim)).clamp_max_(layer.order.size(2) - 1);
    const at::Tensor shifted = order.gather(2, next);
    const at::Tensor renamed = at::where(shifted.eq(last), hole, shifted);
    layer.order.copy_(at::where(active, renamed, order));
    lengths = lengths.sub(active.to(at::kLong));
  }
}

constexpr DeviceKernels kGeneric{.paged_attention = GenericPagedAttention,
                                 .column_sums = GenericColumnSums,
                                 .evict = GenericEvict,
                                 .make_step_runner = nullptr};

}  // namespace

const DeviceKernels& GenericKernels() { return kGeneric; }

const DeviceKernels& KernelsFor(const at::Device& device) {
#ifdef CONCERTINA_CUDA
  if (device.is_cuda()) return CudaKernels();
#endif
  (void)device;
  return kGeneric;
}

}  // namespace concertina
