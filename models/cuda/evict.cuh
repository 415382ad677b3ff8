// Evictions of a decode step: one block per (KV head, row). NOT RUN on a GPU by us: compiled by
// nvcc, and run on the CPU by tests/models/tensor.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace concertina::cuda {

// As EvictArgs. Vectors of K and V are moved as 32-bit words.
struct Evict {
  uint32_t* store;         // [pages][2][entries_per_page][words]
  const int32_t* table;    // [rows, kv_heads, table_pages]
  int32_t* order;          // [rows, kv_heads, capacity]
  float* scores;           // likewise
  int32_t* birth;          // likewise
  int32_t* mass;           // likewise
  const int32_t* lengths;  // [rows]
  const int32_t* ranges;   // [rounds, 2, rows]
  int32_t rows, kv_heads, table_pages, entries_per_page, capacity, words, rounds;
};

inline constexpr int kEvictThreads = 128;

// The index, in [begin, end), of the entry with the least S; the lowest of several. The same in
// every thread.
__device__ inline int LeastInRange(const float* scores, const int32_t* order, int begin, int end) {
  __shared__ float least[kEvictThreads];
  __shared__ int32_t index[kEvictThreads];
  const int thread = threadIdx.x;
  float best = INFINITY;
  int at = end;
  for (int i = begin + thread; i < end; i += kEvictThreads) {
    const float score = scores[order[i]];
    if (score < best || at == end) {
      best = score;
      at = i;
    }
  }
  least[thread] = best;
  index[thread] = at;
  __syncthreads();
  for (int half = kEvictThreads / 2; half > 0; half /= 2) {
    if (thread < half) {
      const float other = least[thread + half];
      const int32_t other_index = index[thread + half];
      const bool better =
          other < least[thread] || (other == least[thread] && other_index < index[thread]);
      if (better) {
        least[thread] = other;
        index[thread] = other_index;
      }
    }
    __syncthreads();
  }
  return index[0];
}

// Takes index `victim` out of the order of `length` entries; slot `last` is called `hole` from now
// on.
__device__ inline void RemoveFromOrder(int32_t* order, int length, int victim, int32_t last,
                                       int32_t hole) {
  for (int base = victim; base < length - 1; base += kEvictThreads) {
    const int i = base + static_cast<int>(threadIdx.x);
    const int32_t next = i < length - 1 ? order[i + 1] : 0;
    __syncthreads();  // everyone has read before anyone writes
    if (i < length - 1) order[i] = next == last ? hole : next;
    __syncthreads();
  }
  for (int i = threadIdx.x; i < victim; i += kEvictThreads) {
    if (order[i] == last) order[i] = hole;
  }
}

static __global__ void __launch_bounds__(kEvictThreads) EvictKernel(Evict args) {
  const int head = blockIdx.x, row = blockIdx.y, thread = threadIdx.x;
  const int64_t item = static_cast<int64_t>(row) * args.kv_heads + head;
  int32_t* order = args.order + item * args.capacity;
  float* scores = args.scores + item * args.capacity;
  const int32_t* table = args.table + item * args.table_pages;
  int length = args.lengths[row];
  for (int round = 0; round < args.rounds; ++round) {
    const int begin = args.ranges[(2 * round) * args.rows + row];
    const int end = args.ranges[(2 * round + 1) * args.rows + row];
    if (begin >= end) return;  // the same for the whole block; later rounds are empty too
    const int victim = LeastInRange(scores, order, begin, end);
    const int32_t hole = order[victim];
    const int32_t last = length - 1;
    __syncthreads();  // everyone has read the hole
    const auto word = [&](int32_t slot, int part) {
      const int64_t page = table[slot / args.entries_per_page];
      return ((page * 2 + part) * args.entries_per_page + slot % args.entries_per_page) *
             args.words;
    };
    for (int i = thread; i < 2 * args.words && hole != last; i += kEvictThreads) {
      const int part = i / args.words;
      args.store[word(hole, part) + i % args.words] = args.store[word(last, part) + i % args.words];
    }
    if (thread == 0) {
      scores[hole] = scores[last];
      args.birth[item * args.capacity + hole] = args.birth[item * args.capacity + last];
      args.mass[item * args.capacity + hole] = args.mass[item * args.capacity + last];
    }
    RemoveFromOrder(order, length, victim, last, hole);
    --length;
    __syncthreads();  // the next round reads what this one wrote
  }
}

}  // namespace concertina::cuda
