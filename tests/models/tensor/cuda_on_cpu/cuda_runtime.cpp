#include "cuda_runtime.h"

#include <ucontext.h>

#include <array>
#include <cassert>
#include <vector>

Index3 threadIdx;
Index3 blockIdx;

namespace concertina::testing {
namespace {

constexpr int kWarp = 32;
constexpr size_t kStackBytes = 128 * 1024;

// Threads that wait for one another.
struct Barrier {
  int expected = 0;
  int arrived = 0;
  int generation = 0;
};

struct Fiber {
  ucontext_t context;
  std::vector<char> stack = std::vector<char>(kStackBytes);
  bool running = true;
};

struct Warp {
  Barrier barrier;
  std::array<float, kWarp> values;  // being shuffled
};

// The block that is running; threads take turns, and give way only where they wait.
struct Block {
  explicit Block(int threads, const std::function<void()>& body)
      : kernel(body), fibers(static_cast<size_t>(threads)), warps(fibers.size() / kWarp) {
    barrier.expected = threads;
    for (Warp& warp : warps) warp.barrier.expected = kWarp;
  }
  const std::function<void()>& kernel;
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  Barrier barrier;
  ucontext_t scheduler;
};

Block* block = nullptr;

Fiber& Current() { return block->fibers[static_cast<size_t>(threadIdx.x)]; }

void Wait(Barrier& barrier) {
  const int generation = barrier.generation;
  if (++barrier.arrived == barrier.expected) {
    barrier.arrived = 0;
    ++barrier.generation;
    return;
  }
  while (barrier.generation == generation) swapcontext(&Current().context, &block->scheduler);
}

void Main() {
  block->kernel();
  Current().running = false;
}

void Prepare(Fiber& fiber, ucontext_t* scheduler) {
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.data();
  fiber.context.uc_stack.ss_size = fiber.stack.size();
  fiber.context.uc_link = scheduler;
  makecontext(&fiber.context, Main, 0);
}

void RunBlock(int threads, const std::function<void()>& kernel) {
  Block running(threads, kernel);
  block = &running;
  for (Fiber& fiber : running.fibers) Prepare(fiber, &running.scheduler);
  for (bool any = true; any;) {
    any = false;
    for (int thread = 0; thread < threads; ++thread) {
      Fiber& fiber = running.fibers[static_cast<size_t>(thread)];
      if (!fiber.running) continue;
      any = true;
      threadIdx = {.x = thread};
      swapcontext(&running.scheduler, &fiber.context);
    }
  }
  // A thread that ended while others wait would leave them waiting for ever; none do.
  assert(running.barrier.arrived == 0);
  block = nullptr;
}

}  // namespace

void LaunchOnCpu(Index3 grid, int threads, const std::function<void()>& kernel) {
  for (int z = 0; z < std::max(1, grid.z); ++z) {
    for (int y = 0; y < std::max(1, grid.y); ++y) {
      for (int x = 0; x < grid.x; ++x) {
        blockIdx = {.x = x, .y = y, .z = z};
        RunBlock(threads, kernel);
      }
    }
  }
}

}  // namespace concertina::testing

void __syncthreads() { concertina::testing::Wait(concertina::testing::block->barrier); }

float __shfl_xor_sync(unsigned mask, float value, int distance) {
  using concertina::testing::block;
  using concertina::testing::kWarp;
  assert(mask == 0xffffffffU);
  const int thread = threadIdx.x;
  auto& warp = block->warps[static_cast<size_t>(thread / kWarp)];
  warp.values[static_cast<size_t>(thread % kWarp)] = value;
  Wait(warp.barrier);
  const float other = warp.values[static_cast<size_t>((thread % kWarp) ^ distance)];
  Wait(warp.barrier);  // everyone has read before anyone writes again
  return other;
}
