#include "models/kernels/parallel.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
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

// Of every worker: between a claim and the task's first line a worker may be stopped for any time,
// and others go on.
TEST(ParallelTest, TasksBeginInAscendingOrder) {
  for (const int threads : {1, 3}) {
    SetThreads(threads);
    std::vector<std::vector<int64_t>> tasks(static_cast<size_t>(threads));
    ParallelTasks(1000, [&](int worker, int64_t task) { tasks[worker].push_back(task); });
    size_t done = 0;
    for (const std::vector<int64_t>& of_worker : tasks) {
      EXPECT_TRUE(std::is_sorted(of_worker.begin(), of_worker.end()));
      done += of_worker.size();
    }
    EXPECT_EQ(done, 1000U);
  }
}

TEST(ParallelTest, LoopsWithinLoopsAndOnOtherThreadsWork) {
  SetThreads(2);
  std::atomic<int64_t> sum{0};
  const auto nested = [&] {
    ParallelFor(0, 8, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        ParallelTasks(5, [&](int worker, int64_t task) {
          EXPECT_LT(worker, 2);
          sum += task;
        });
      }
    });
  };
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i) {
    callers.emplace_back([&] {
      for (int round = 0; round < 200; ++round) nested();
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum, 3 * 200 * 8 * 10);
}

// Short loops right after one another, so that workers come late to some; with pauses, so that they
// fall asleep before others.
TEST(ParallelTest, NoTaskIsLostOrDoneTwice) {
  for (const int threads : {2, 4}) {
    SetThreads(threads);
    std::vector<int32_t> hits(61);
    for (int round = 0; round < 20000; ++round) {
      const int64_t tasks = 2 + round % 60;
      if (round % 2 == 0) {
        ParallelTasks(tasks, [&](int, int64_t task) { ++hits[static_cast<size_t>(task)]; });
      } else {
        ParallelFor(0, tasks, 1, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) ++hits[static_cast<size_t>(i)];
        });
      }
      for (int64_t i = 0; i < tasks; ++i) ASSERT_EQ(hits[static_cast<size_t>(i)], 1) << round;
      std::fill(hits.begin(), hits.end(), 0);
      if (round % 1000 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
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
