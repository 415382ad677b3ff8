// Exact column sums of a prompt's attention, by tiles on tensor cores: one block per (64 keys, KV
// head). NOT RUN on a GPU by us: compiled by nvcc, and run on the CPU by tests/models/tensor.
#pragma once

#include <cuda_runtime.h>
#include <mma.h>

#include <cstdint>

#include "models/cuda/elements.cuh"

namespace concertina::cuda {

// As ColumnSumsArgs. Element type: __half or __nv_bfloat16.
template <typename T>
struct ColumnSums {
  const T* q;                // [kv_heads, group, rows, head_dim]
  const T* k;                // [kv_heads, keys, head_dim]
  const float* log_sum_exp;  // [kv_heads, group, rows]
  float* sums;               // [kv_heads, keys]
  int32_t group, rows, keys, first_key;
  float scale;
};

inline constexpr int kTileKeys = 64;
inline constexpr int kTileRows = 32;
inline constexpr int kColumnThreads = 128;  // four warps: 16 rows and 32 keys of the tile each
inline constexpr int kTile = 16;            // of a tensor core
inline constexpr int kPadding = 8;  // elements after a row of shared memory, against conflicts

// Rows [first, first + kCount) of a matrix of `rows` rows into shared memory, zeros beyond it.
template <typename T, int kHeadDim, int kCount>
__device__ void LoadTile(const T* matrix, int first, int rows, T* tile) {
  constexpr int kVectors =
      kHeadDim * static_cast<int>(sizeof(T)) / static_cast<int>(sizeof(float4));
  constexpr int kStride = kHeadDim + kPadding;
  for (int i = threadIdx.x; i < kCount * kVectors; i += kColumnThreads) {
    const int row = i / kVectors, vector = i % kVectors;
    const float4 zero = {0.0f, 0.0f, 0.0f, 0.0f};
    const float4* from =
        reinterpret_cast<const float4*>(matrix + static_cast<int64_t>(first + row) * kHeadDim);
    reinterpret_cast<float4*>(tile + row * kStride)[vector] =
        first + row < rows ? from[vector] : zero;
  }
}

// scores [kTileRows][kScoreStride] = q_tile . k_tile^T
template <typename T, int kHeadDim, int kScoreStride>
__device__ void MultiplyTiles(const T* q_tile, const T* k_tile, float* scores) {
  using nvcuda::wmma::fragment;
  constexpr int kStride = kHeadDim + kPadding;
  const int warp = threadIdx.x / 32;
  const int row = (warp % 2) * kTile, key = (warp / 2) * 2 * kTile;
  fragment<nvcuda::wmma::accumulator, kTile, kTile, kTile, float> sum[2];
  nvcuda::wmma::fill_fragment(sum[0], 0.0f);
  nvcuda::wmma::fill_fragment(sum[1], 0.0f);
#pragma unroll
  for (int d = 0; d < kHeadDim; d += kTile) {
    fragment<nvcuda::wmma::matrix_a, kTile, kTile, kTile, T, nvcuda::wmma::row_major> a;
    nvcuda::wmma::load_matrix_sync(a, q_tile + row * kStride + d, kStride);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      // Column n of the right-hand matrix is key n: stored one after another, "column major".
      fragment<nvcuda::wmma::matrix_b, kTile, kTile, kTile, T, nvcuda::wmma::col_major> b;
      nvcuda::wmma::load_matrix_sync(b, k_tile + (key + half * kTile) * kStride + d, kStride);
      nvcuda::wmma::mma_sync(sum[half], a, b, sum[half]);
    }
  }
  for (int half = 0; half < 2; ++half) {
    nvcuda::wmma::store_matrix_sync(scores + row * kScoreStride + key + half * kTile, sum[half],
                                    kScoreStride, nvcuda::wmma::mem_row_major);
  }
}

// A block's keys stay in shared memory while all rows that see them pass, query head by query head.
// Nothing is added atomically: the sums do not depend on the order of blocks.
template <typename T, int kHeadDim>
__global__ void __launch_bounds__(kColumnThreads) ColumnSumsKernel(ColumnSums<T> args) {
  constexpr int kStride = kHeadDim + kPadding;
  constexpr int kScoreStride = kTileKeys + 4;
  alignas(32) __shared__ T k_tile[kTileKeys * kStride];
  alignas(32) __shared__ T q_tile[kTileRows * kStride];
  alignas(32) __shared__ float scores[kTileRows * kScoreStride];
  const int first_key = blockIdx.x * kTileKeys, head = blockIdx.y;
  LoadTile<T, kHeadDim, kTileKeys>(args.k + static_cast<int64_t>(head) * args.keys * kHeadDim,
                                   first_key, args.keys, k_tile);
  // Two threads share a key: even and odd rows of the tile.
  const int column = threadIdx.x % kTileKeys, parity = threadIdx.x / kTileKeys;
  const int key = first_key + column;
  // The first row that sees the block's first key.
  const int first_row = max(0, first_key - args.first_key) / kTileRows * kTileRows;
  float sum = 0.0f;
  for (int g = 0; g < args.group; ++g) {
    const int64_t query_head = static_cast<int64_t>(head) * args.group + g;
    for (int row = first_row; row < args.rows; row += kTileRows) {
      __syncthreads();  // the tiles of the round before have been read
      LoadTile<T, kHeadDim, kTileRows>(args.q + query_head * args.rows * kHeadDim, row, args.rows,
                                       q_tile);
      __syncthreads();
      MultiplyTiles<T, kHeadDim, kScoreStride>(q_tile, k_tile, scores);
      __syncthreads();
      for (int i = parity; i < kTileRows && row + i < args.rows; i += 2) {
        if (key > args.first_key + row + i) continue;  // later than the row
        sum += expf(scores[i * kScoreStride + column] * args.scale -
                    args.log_sum_exp[query_head * args.rows + row + i]);
      }
    }
  }
  __syncthreads();
  if (parity == 1) scores[column] = sum;
  __syncthreads();
  if (parity == 0 && key < args.keys) {
    args.sums[static_cast<int64_t>(head) * args.keys + key] =
        (sum + scores[column]) / static_cast<float>(args.group);
  }
}

}  // namespace concertina::cuda
