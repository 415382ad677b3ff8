#include "models/kernels/parallel.h"

#include <atomic>
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "models/kernels/workspace.h"

namespace concertina {
namespace {

TEST(ParallelTest, ForCoversTheRangeOnce) {
  for (const int threads : {1, 2, 3}) {
    SetThreads(threads);
    EXPECT_EQ(Threads(), threads);
    for (const int64_t grain : {1, 7, 1000}) {
      std::vector<std::atomic<int>> hits(103);
      ParallelFor(3, 100, grain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) ++hits[static_cast<size_t>(i)];
      });
      for (int64_t i = 0; i < 103; ++i) {
        EXPECT_EQ(hits[static_cast<size_t>(i)], i >= 3 && i < 100) << i;
      }
    }
  }
}

TEST(ParallelTest, TasksRunOnceOnKnownWorkers) {
  for (const int threads : {1, 2}) {
    SetThreads(threads);
    std::vector<std::atomic<int>> hits(50);
    std::atomic<bool> worker_in_range{true};
    ParallelTasks(50, [&](int worker, int64_t task) {
      ++hits[static_cast<size_t>(task)];
      if (worker < 0 || worker >= threads) worker_in_range = false;
    });
    for (const auto& hit : hits) EXPECT_EQ(hit, 1);
    EXPECT_TRUE(worker_in_range);
  }
}

TEST(ParallelTest, EmptyWorkCallsNothing) {
  ParallelFor(5, 5, 1, [](int64_t, int64_t) { FAIL(); });
  ParallelTasks(0, [](int, int64_t) { FAIL(); });
}

TEST(ParallelTest, AtLeastOneThread) {
  SetThreads(0);
  EXPECT_EQ(Threads(), 1);
}

TEST(WorkspaceTest, GrowsOnlyAndIsAligned) {
  Workspace workspace;
  float* first = workspace.Floats(2, 1000);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % 64, 0);
  const int64_t bytes = workspace.bytes();
  EXPECT_GE(bytes, 4000);
  EXPECT_EQ(workspace.Floats(2, 10), first);
  EXPECT_EQ(workspace.Floats(2, 1000), first);
  EXPECT_EQ(workspace.bytes(), bytes);
  float* large = workspace.Floats(0, int64_t{1} << 20);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(large) % 64, 0);
  large[(int64_t{1} << 20) - 1] = 1.0f;
  EXPECT_EQ(workspace.Floats(2, 1000), first);
  EXPECT_GE(workspace.bytes(), bytes + (int64_t{4} << 20));
}

}  // namespace
}  // namespace concertina
