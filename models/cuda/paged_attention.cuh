// Decode attention over pages, ragged: one block per (row, KV head, split). NOT RUN on a GPU by us:
// compiled by nvcc, and run on the CPU by tests/models/tensor (a thread per CUDA thread).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "models/cuda/elements.cuh"

namespace concertina::cuda {

// As PagedAttentionArgs. `T` is an element of queries, keys and values.
template <typename T>
struct PagedAttention {
  const T* q;              // [rows, kv_heads * group, head_dim]
  const T* store;          // [pages][2][entries_per_page][head_dim]
  const int32_t* table;    // [rows, kv_heads, table_pages]
  const int32_t* lengths;  // [rows], at least 1
  T* out;                  // like q
  float* scores;           // null, or [rows, kv_heads, capacity]: +=
  // Scratch of the splits: logits [rows, kv_heads, group, capacity] (where scores are wanted), and
  // per split the unnormalised output, the largest logit and the sum of exponentials.
  float* logits;
  float* partial_out;  // [rows, kv_heads, splits, group, head_dim]
  float* partial_max;  // [rows, kv_heads, splits, group]
  float* partial_sum;  // [rows, kv_heads, splits, group]
  int32_t kv_heads, group, table_pages, entries_per_page, capacity, splits;
  float scale;
};

// Entries of one split. A constant, so that a row's result does not depend on the other rows.
inline constexpr int kSplitEntries = 256;
inline constexpr int kAttentionWarps = 4;
inline constexpr int kLanes = 32;
inline constexpr int kVector = 8;    // elements a lane reads at once: 16 bytes of bf16
inline constexpr int kGroupMax = 8;  // query heads of a KV head

// What a team of lanes has of the softmax so far, for one query head.
template <int kGroup>
struct Running {
  float max[kGroup];
  float sum[kGroup];
  float out[kGroup][kVector];
};

// a and b become one; `b` comes from the lane `distance` away.
template <int kGroup>
__device__ void MergeLanes(Running<kGroup>& a, int distance) {
#pragma unroll
  for (int g = 0; g < kGroup; ++g) {
    const float other_max = __shfl_xor_sync(0xffffffffu, a.max[g], distance);
    const float other_sum = __shfl_xor_sync(0xffffffffu, a.sum[g], distance);
    const float max = fmaxf(a.max[g], other_max);
    // A team without entries has max = -infinity; both without: the weights must not be NaN.
    const float mine = a.max[g] == -INFINITY ? 0.0f : expf(a.max[g] - max);
    const float theirs = other_max == -INFINITY ? 0.0f : expf(other_max - max);
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      const float other = __shfl_xor_sync(0xffffffffu, a.out[g][i], distance);
      a.out[g][i] = a.out[g][i] * mine + other * theirs;
    }
    a.sum[g] = a.sum[g] * mine + other_sum * theirs;
    a.max[g] = max;
  }
}

// A team of kHeadDim / kVector lanes takes an entry at a time, each lane kVector dimensions of it;
// the teams of a block take entries in turns. The group's query heads share every load.
template <typename T, int kHeadDim, int kGroup>
__global__ void __launch_bounds__(kAttentionWarps* kLanes)
    PagedAttentionKernel(PagedAttention<T> args) {
  constexpr int kTeamLanes = kHeadDim / kVector;
  static_assert(kTeamLanes >= 1 && kTeamLanes <= kLanes && kLanes % kTeamLanes == 0);
  constexpr int kTeams = kAttentionWarps * kLanes / kTeamLanes;
  const int split = blockIdx.x, head = blockIdx.y, row = blockIdx.z;
  const int thread = threadIdx.x, warp = thread / kLanes, lane = thread % kLanes;
  const int team = thread / kTeamLanes, part = thread % kTeamLanes;
  const int length = args.lengths[row];
  const int begin = split * kSplitEntries;
  const int end = min(length, begin + kSplitEntries);
  const int64_t item = static_cast<int64_t>(row) * args.kv_heads + head;
  const int64_t partial = (item * args.splits + split) * args.group;

  float q[kGroup][kVector];
  Running<kGroup> run;
#pragma unroll
  for (int g = 0; g < kGroup; ++g) {
    run.max[g] = -INFINITY;
    run.sum[g] = 0.0f;
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      run.out[g][i] = 0.0f;
      q[g][i] = g < args.group
                    ? ToFloat(args.q[(item * args.group + g) * kHeadDim + part * kVector + i]) *
                          args.scale
                    : 0.0f;
    }
  }

  // Every lane of a warp takes every turn: the shuffles need them all.
  const int32_t* table = args.table + item * args.table_pages;
  for (int first = begin; first < end; first += kTeams) {
    const int entry = first + team;
    const bool live = entry < end;
    float k[kVector] = {}, v[kVector] = {};
    if (live) {
      const int page = entry / args.entries_per_page, slot = entry % args.entries_per_page;
      const int64_t block = static_cast<int64_t>(table[page]) * 2 * args.entries_per_page;
      LoadVector(args.store + (block + slot) * kHeadDim + part * kVector, k);
      LoadVector(args.store + (block + args.entries_per_page + slot) * kHeadDim + part * kVector,
                 v);
    }
#pragma unroll
    for (int g = 0; g < kGroup; ++g) {
      float logit = 0.0f;
      if (live) {
#pragma unroll
        for (int i = 0; i < kVector; ++i) logit += q[g][i] * k[i];
      }
#pragma unroll
      for (int distance = kTeamLanes / 2; distance > 0; distance /= 2) {
        logit += __shfl_xor_sync(0xffffffffu, logit, distance);
      }
      if (!live || g >= args.group) continue;
      if (args.scores != nullptr && part == 0) {
        args.logits[(item * args.group + g) * args.capacity + entry] = logit;
      }
      const float max = fmaxf(run.max[g], logit);
      const float before = expf(run.max[g] - max);  // 0 at the first entry
      const float weight = expf(logit - max);
#pragma unroll
      for (int i = 0; i < kVector; ++i) run.out[g][i] = run.out[g][i] * before + weight * v[i];
      run.sum[g] = run.sum[g] * before + weight;
      run.max[g] = max;
    }
  }

  // The teams of a warp, then the warps.
#pragma unroll
  for (int distance = kTeamLanes; distance < kLanes; distance *= 2) MergeLanes(run, distance);
  __shared__ float warp_max[kAttentionWarps][kGroup];
  __shared__ float warp_sum[kAttentionWarps][kGroup];
  __shared__ float warp_out[kAttentionWarps][kGroup][kHeadDim];
  if (lane < kTeamLanes) {
#pragma unroll
    for (int g = 0; g < kGroup; ++g) {
      if (lane == 0) {
        warp_max[warp][g] = run.max[g];
        warp_sum[warp][g] = run.sum[g];
      }
#pragma unroll
      for (int i = 0; i < kVector; ++i) warp_out[warp][g][lane * kVector + i] = run.out[g][i];
    }
  }
  __syncthreads();
  for (int i = thread; i < args.group * kHeadDim; i += kAttentionWarps * kLanes) {
    const int g = i / kHeadDim, d = i % kHeadDim;
    float max = -INFINITY;
    for (int w = 0; w < kAttentionWarps; ++w) max = fmaxf(max, warp_max[w][g]);
    float sum = 0.0f, out = 0.0f;
    for (int w = 0; w < kAttentionWarps; ++w) {
      const float weight = warp_max[w][g] == -INFINITY ? 0.0f : expf(warp_max[w][g] - max);
      sum += warp_sum[w][g] * weight;
      out += warp_out[w][g][d] * weight;
    }
    args.partial_out[(partial + g) * kHeadDim + d] = out;
    if (d == 0) {
      args.partial_max[partial + g] = max;
      args.partial_sum[partial + g] = sum;
    }
  }
}

// Joins the splits and adds the probabilities to S: one block per (KV head, row).
template <typename T, int kHeadDim>
__global__ void __launch_bounds__(kAttentionWarps* kLanes)
    CombineSplitsKernel(PagedAttention<T> args) {
  const int head = blockIdx.x, row = blockIdx.y, thread = threadIdx.x;
  const int64_t item = static_cast<int64_t>(row) * args.kv_heads + head;
  const int length = args.lengths[row];
  const int splits = (length + kSplitEntries - 1) / kSplitEntries;
  __shared__ float total_max[kGroupMax];
  __shared__ float total_sum[kGroupMax];
  if (thread < args.group) {
    const int64_t first = item * args.splits * args.group + thread;
    float max = -INFINITY;
    for (int s = 0; s < splits; ++s) max = fmaxf(max, args.partial_max[first + s * args.group]);
    float sum = 0.0f;
    for (int s = 0; s < splits; ++s) {
      const int64_t at = first + s * args.group;
      sum += args.partial_sum[at] * expf(args.partial_max[at] - max);
    }
    total_max[thread] = max;
    total_sum[thread] = sum;
  }
  __syncthreads();
  for (int i = thread; i < args.group * kHeadDim; i += kAttentionWarps * kLanes) {
    const int g = i / kHeadDim, d = i % kHeadDim;
    float out = 0.0f;
    for (int s = 0; s < splits; ++s) {
      const int64_t at = (item * args.splits + s) * args.group + g;
      out += args.partial_out[at * kHeadDim + d] * expf(args.partial_max[at] - total_max[g]);
    }
    args.out[(item * args.group + g) * kHeadDim + d] = FromFloat<T>(out / total_sum[g]);
  }
  if (args.scores == nullptr) return;
  for (int entry = thread; entry < length; entry += kAttentionWarps * kLanes) {
    float sum = 0.0f;
    for (int g = 0; g < args.group; ++g) {
      const float logit = args.logits[(item * args.group + g) * args.capacity + entry];
      sum += expf(logit - total_max[g]) / total_sum[g];
    }
    args.scores[item * args.capacity + entry] += sum / static_cast<float>(args.group);
  }
}

}  // namespace concertina::cuda
