#pragma once

// Enough of CUDA to run the kernels of models/cuda on the CPU: every CUDA thread is a fiber, blocks
// run one after another, shared memory is static. Stands in for CUDA's header of this name.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>

#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(threads)

using std::max;
using std::min;

struct Index3 {
  int x = 0, y = 0, z = 0;
};

// Of the fiber that is running.
extern Index3 threadIdx;
extern Index3 blockIdx;

struct alignas(16) float4 {
  float x, y, z, w;
};

// Waits for every thread of the block.
void __syncthreads();

// The value of the lane whose number differs in the bits of `distance`. Every lane of the warp must
// call it.
float __shfl_xor_sync(unsigned mask, float value, int distance);

namespace concertina::testing {

// Runs `kernel` once per thread of every block. threads: a multiple of 32, at most 1,024.
void LaunchOnCpu(Index3 grid, int threads, const std::function<void()>& kernel);

}  // namespace concertina::testing
