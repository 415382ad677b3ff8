// Tensors of LibTorch to addresses and back. Not run on a GPU by us.
#include "models/cuda/cuda_kernels.h"

#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Exception.h>

#include "models/cuda/launch.h"
#include "models/cuda/step_graph.h"

namespace concertina {
namespace {

void Check(cudaError_t error, const char* kernel) {
  TORCH_CHECK(error == cudaSuccess, kernel, ": ", cudaGetErrorString(error));
}

cuda::Element ElementOf(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kHalf:
      return cuda::Element::kF16;
    case at::kBFloat16:
      return cuda::Element::kBf16;
    default:
      return cuda::Element::kF32;
  }
}

int32_t Size(const at::Tensor& tensor, int64_t dimension) {
  return static_cast<int32_t>(tensor.size(dimension));
}

at::Tensor PagedAttention(const PagedAttentionArgs& args) {
  PagedLayer& layer = *args.layer;
  const int64_t rows = args.q.size(0);
  const int64_t kv_heads = layer.table.size(1);
  const int64_t group = args.q.size(1) / kv_heads;
  const int64_t head_dim = args.q.size(2);
  if (!cuda::HasPagedAttention(head_dim, group)) return GenericKernels().paged_attention(args);
  const c10::cuda::CUDAGuard guard(args.q.device());
  const at::Tensor q = args.q.contiguous();
  const at::Tensor lengths = args.lengths.contiguous();
  at::Tensor out = at::empty(q.sizes(), q.options());
  const at::TensorOptions floats = q.options().dtype(at::kFloat);
  const int64_t splits = cuda::SplitsOf(args.longest);
  const int64_t capacity = layer.capacity(*args.store);
  const bool scores = layer.keeps_scores();
  const at::Tensor logits = at::empty({scores ? rows * kv_heads * group * capacity : 0}, floats);
  const at::Tensor partial_out = at::empty({rows * kv_heads * splits * group * head_dim}, floats);
  const at::Tensor partial_max = at::empty({rows * kv_heads * splits * group}, floats);
  const at::Tensor partial_sum = at::empty({rows * kv_heads * splits * group}, floats);
  Check(cuda::LaunchPagedAttention(
            ElementOf(q),
            {.q = q.const_data_ptr(),
             .store = args.store->rows.const_data_ptr(),
             .table = layer.table.const_data_ptr<int32_t>(),
             .lengths = lengths.const_data_ptr<int32_t>(),
             .out = out.mutable_data_ptr(),
             .scores = scores ? layer.scores.mutable_data_ptr<float>() : nullptr,
             .logits = logits.mutable_data_ptr<float>(),
             .partial_out = partial_out.mutable_data_ptr<float>(),
             .partial_max = partial_max.mutable_data_ptr<float>(),
             .partial_sum = partial_sum.mutable_data_ptr<float>(),
             .rows = static_cast<int32_t>(rows),
             .kv_heads = static_cast<int32_t>(kv_heads),
             .group = static_cast<int32_t>(group),
             .head_dim = static_cast<int32_t>(head_dim),
             .table_pages = Size(layer.table, 2),
             .entries_per_page = static_cast<int32_t>(args.store->entries_per_page),
             .capacity = static_cast<int32_t>(capacity),
             .splits = static_cast<int32_t>(splits),
             .scale = static_cast<float>(args.scale)},
            c10::cuda::getCurrentCUDAStream()),
        "paged attention");
  return out;
}

at::Tensor ColumnSums(const ColumnSumsArgs& args) {
  const int64_t head_dim = args.q.size(3);
  if (!cuda::HasColumnSums(head_dim, ElementOf(args.q))) return GenericColumnSums(args);
  const c10::cuda::CUDAGuard guard(args.q.device());
  const at::Tensor q = args.q.contiguous();
  const at::Tensor k = args.k.contiguous();
  const at::Tensor lse = args.log_sum_exp.contiguous();
  at::Tensor sums = at::empty({k.size(0), k.size(1)}, q.options().dtype(at::kFloat));
  Check(cuda::LaunchColumnSums(ElementOf(q),
                               {.q = q.const_data_ptr(),
                                .k = k.const_data_ptr(),
                                .log_sum_exp = lse.const_data_ptr<float>(),
                                .sums = sums.mutable_data_ptr<float>(),
                                .kv_heads = Size(q, 0),
                                .group = Size(q, 1),
                                .rows = Size(q, 2),
                                .keys = Size(k, 1),
                                .head_dim = static_cast<int32_t>(head_dim),
                                .first_key = static_cast<int32_t>(args.first_key),
                                .scale = static_cast<float>(args.scale)},
                               c10::cuda::getCurrentCUDAStream()),
        "column sums");
  return sums;
}

void EvictEntries(const EvictArgs& args) {
  const int64_t vector_bytes = args.store->rows.size(1) * args.store->rows.element_size();
  if (vector_bytes % static_cast<int64_t>(sizeof(uint32_t)) != 0) {
    return GenericKernels().evict(args);
  }
  PagedLayer& layer = *args.layer;
  const c10::cuda::CUDAGuard guard(args.store->rows.device());
  const at::Tensor lengths = args.lengths.contiguous();
  const at::Tensor ranges = args.ranges.contiguous();
  at::Tensor store = args.store->rows;
  Check(cuda::LaunchEvict({.store = store.mutable_data_ptr(),
                           .table = layer.table.const_data_ptr<int32_t>(),
                           .order = layer.order.mutable_data_ptr<int32_t>(),
                           .scores = layer.scores.mutable_data_ptr<float>(),
                           .birth = layer.birth.mutable_data_ptr<int32_t>(),
                           .mass = layer.mass.mutable_data_ptr<int32_t>(),
                           .lengths = lengths.const_data_ptr<int32_t>(),
                           .ranges = ranges.const_data_ptr<int32_t>(),
                           .rows = Size(layer.table, 0),
                           .kv_heads = Size(layer.table, 1),
                           .table_pages = Size(layer.table, 2),
                           .entries_per_page = static_cast<int32_t>(args.store->entries_per_page),
                           .capacity = Size(layer.order, 2),
                           .vector_bytes = static_cast<int32_t>(vector_bytes),
                           .rounds = static_cast<int32_t>(args.rounds)},
                          c10::cuda::getCurrentCUDAStream()),
        "evict");
}

constexpr DeviceKernels kCuda{.paged_attention = PagedAttention,
                              .column_sums = ColumnSums,
                              .evict = EvictEntries,
                              .make_step_runner = MakeStepGraph};

}  // namespace

const DeviceKernels& CudaKernels() { return kCuda; }

}  // namespace concertina
