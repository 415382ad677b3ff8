// Chooses the compiled variant of a kernel and launches it. Not run on a GPU by us.
#include "models/cuda/column_sums.cuh"
#include "models/cuda/evict.cuh"
#include "models/cuda/launch.h"
#include "models/cuda/paged_attention.cuh"

namespace concertina::cuda {
namespace {

template <typename T, int kHeadDim>
cudaError_t Attend(const PagedAttentionLaunch& launch, cudaStream_t stream) {
  const PagedAttention<T> args{.q = static_cast<const T*>(launch.q),
                               .store = static_cast<const T*>(launch.store),
                               .table = launch.table,
                               .lengths = launch.lengths,
                               .out = static_cast<T*>(launch.out),
                               .scores = launch.scores,
                               .logits = launch.logits,
                               .partial_out = launch.partial_out,
                               .partial_max = launch.partial_max,
                               .partial_sum = launch.partial_sum,
                               .kv_heads = launch.kv_heads,
                               .group = launch.group,
                               .table_pages = launch.table_pages,
                               .entries_per_page = launch.entries_per_page,
                               .capacity = launch.capacity,
                               .splits = launch.splits,
                               .scale = launch.scale};
  const dim3 grid(launch.splits, launch.kv_heads, launch.rows);
  constexpr int kThreads = kAttentionWarps * kLanes;
  if (launch.group == 1) {
    PagedAttentionKernel<T, kHeadDim, 1><<<grid, kThreads, 0, stream>>>(args);
  } else if (launch.group <= 4) {
    PagedAttentionKernel<T, kHeadDim, 4><<<grid, kThreads, 0, stream>>>(args);
  } else {
    PagedAttentionKernel<T, kHeadDim, kGroupMax><<<grid, kThreads, 0, stream>>>(args);
  }
  if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) return error;
  const dim3 items(launch.kv_heads, launch.rows);
  CombineSplitsKernel<T, kHeadDim><<<items, kThreads, 0, stream>>>(args);
  return cudaGetLastError();
}

template <typename T>
cudaError_t Attend(const PagedAttentionLaunch& launch, cudaStream_t stream) {
  switch (launch.head_dim) {
    case 64:
      return Attend<T, 64>(launch, stream);
    case 128:
      return Attend<T, 128>(launch, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

template <typename T>
cudaError_t Sum(const ColumnSumsLaunch& launch, cudaStream_t stream) {
  const ColumnSums<T> args{.q = static_cast<const T*>(launch.q),
                           .k = static_cast<const T*>(launch.k),
                           .log_sum_exp = launch.log_sum_exp,
                           .sums = launch.sums,
                           .group = launch.group,
                           .rows = launch.rows,
                           .keys = launch.keys,
                           .first_key = launch.first_key,
                           .scale = launch.scale};
  const dim3 grid((launch.keys + kTileKeys - 1) / kTileKeys, launch.kv_heads);
  switch (launch.head_dim) {
    case 64:
      ColumnSumsKernel<T, 64><<<grid, kColumnThreads, 0, stream>>>(args);
      break;
    case 128:
      ColumnSumsKernel<T, 128><<<grid, kColumnThreads, 0, stream>>>(args);
      break;
    default:
      return cudaErrorInvalidValue;
  }
  return cudaGetLastError();
}

}  // namespace

bool HasPagedAttention(int64_t head_dim, int64_t group) {
  return (head_dim == 64 || head_dim == 128) && group <= kGroupMax;
}

bool HasColumnSums(int64_t head_dim, Element element) {
  return (head_dim == 64 || head_dim == 128) && element != Element::kF32;
}

int32_t SplitsOf(int64_t longest) {
  return static_cast<int32_t>((longest + kSplitEntries - 1) / kSplitEntries);
}

cudaError_t LaunchPagedAttention(Element element, const PagedAttentionLaunch& launch,
                                 cudaStream_t stream) {
  switch (element) {
    case Element::kF16:
      return Attend<__half>(launch, stream);
    case Element::kBf16:
      return Attend<__nv_bfloat16>(launch, stream);
    case Element::kF32:
      return Attend<float>(launch, stream);
  }
  return cudaErrorInvalidValue;
}

cudaError_t LaunchColumnSums(Element element, const ColumnSumsLaunch& launch, cudaStream_t stream) {
  switch (element) {
    case Element::kF16:
      return Sum<__half>(launch, stream);
    case Element::kBf16:
      return Sum<__nv_bfloat16>(launch, stream);
    case Element::kF32:
      break;
  }
  return cudaErrorInvalidValue;
}

cudaError_t LaunchEvict(const EvictLaunch& launch, cudaStream_t stream) {
  const Evict args{.store = static_cast<uint32_t*>(launch.store),
                   .table = launch.table,
                   .order = launch.order,
                   .scores = launch.scores,
                   .birth = launch.birth,
                   .mass = launch.mass,
                   .lengths = launch.lengths,
                   .ranges = launch.ranges,
                   .rows = launch.rows,
                   .kv_heads = launch.kv_heads,
                   .table_pages = launch.table_pages,
                   .entries_per_page = launch.entries_per_page,
                   .capacity = launch.capacity,
                   .words = launch.vector_bytes / static_cast<int32_t>(sizeof(uint32_t)),
                   .rounds = launch.rounds};
  EvictKernel<<<dim3(launch.kv_heads, launch.rows), kEvictThreads, 0, stream>>>(args);
  return cudaGetLastError();
}

}  // namespace concertina::cuda
