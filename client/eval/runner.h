#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/eval/measurer.h"
#include "client/eval/progress.h"
#include "client/eval/store.h"

namespace concertina::eval {

// One cell that is still to be measured.
struct Job {
  const Record* record = nullptr;
  const Setting* setting = nullptr;
};

// The cells that the store does not have: setting by setting, the reference first, so that a run
// cut short has whole curves.
std::vector<Job> MissingCells(const std::vector<Record>& records,
                              const std::vector<Setting>& settings, const Measurer& measurer,
                              const Store& store);

// Measures jobs, several at once, into the store. Used once.
class Runner {
 public:
  struct Result {
    size_t failed = 0;    // cells the server refused; another run tries them again
    absl::Status status;  // why the run ended early: no server, a full disk
    // Longer than the trained context, and so too long for the full cache; not among the failed.
    std::set<const Record*> too_long;
  };

  // All outlive it. `stopped` ends the run after the calls under way.
  Runner(const Measurer& measurer, Store& store, Progress& progress, std::atomic<bool>& stopped)
      : measurer_(measurer), store_(store), progress_(progress), stopped_(stopped) {}

  Result Run(const std::vector<Job>& jobs, int concurrency);

 private:
  void Work(const std::vector<Job>& jobs);
  void RunOne(const Job& job);
  void Fail(const Job& job, const absl::Status& status);

  const Measurer& measurer_;
  Store& store_;
  Progress& progress_;
  std::atomic<bool>& stopped_;
  std::atomic<size_t> next_{0};

  std::mutex mutex_;
  // All below guarded by mutex_.
  Result result_;
  std::set<std::string> told_;  // of failures, once for each setting
};

}  // namespace concertina::eval
