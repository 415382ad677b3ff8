#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace concertina::cuda {

// The kernels of models/cuda as plain functions of addresses on the device, so that what nvcc
// compiles needs no LibTorch and what needs LibTorch no nvcc. Each returns the launch's error.

enum class Element { kF16, kBf16, kF32 };

// Sizes the attention kernel is compiled for: head_dim 64 or 128 (and group <= 8).
bool HasPagedAttention(int64_t head_dim, int64_t group);
// And the column sums: also 16-bit elements.
bool HasColumnSums(int64_t head_dim, Element element);

// PagedAttentionArgs; null `scores`: not wanted. Scratch: see PagedAttention in
// paged_attention.cuh.
struct PagedAttentionLaunch {
  const void* q;
  const void* store;
  const int32_t* table;
  const int32_t* lengths;
  void* out;
  float* scores;
  float* logits;
  float* partial_out;
  float* partial_max;
  float* partial_sum;
  int32_t rows, kv_heads, group, head_dim, table_pages, entries_per_page, capacity, splits;
  float scale;
};
// Splits of the longest row.
int32_t SplitsOf(int64_t longest);
cudaError_t LaunchPagedAttention(Element element, const PagedAttentionLaunch& launch,
                                 cudaStream_t stream);

struct ColumnSumsLaunch {
  const void* q;
  const void* k;
  const float* log_sum_exp;
  float* sums;
  int32_t kv_heads, group, rows, keys, head_dim, first_key;
  float scale;
};
cudaError_t LaunchColumnSums(Element element, const ColumnSumsLaunch& launch, cudaStream_t stream);

struct EvictLaunch {
  void* store;
  const int32_t* table;
  int32_t* order;
  float* scores;
  int32_t* birth;
  int32_t* mass;
  const int32_t* lengths;
  const int32_t* ranges;
  int32_t rows, kv_heads, table_pages, entries_per_page, capacity, vector_bytes, rounds;
};
cudaError_t LaunchEvict(const EvictLaunch& launch, cudaStream_t stream);

}  // namespace concertina::cuda
