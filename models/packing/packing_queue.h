#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"

namespace concertina {

// Loading work that is split over the threads: jobs are taken in the order they were added, each by
// one thread, and report progress by their cost.
class PackingQueue {
 public:
  using Job = std::function<absl::Status()>;

  // cost: elements to pack; only the proportions matter.
  void Add(int64_t cost, Job job);

  // Runs everything; the first error wins and stops the taking of further jobs. `progress` gets
  // shares in [0, 1], one call at a time.
  absl::Status Run(const std::function<void(double)>& progress);

 private:
  struct Item {
    int64_t cost;
    Job job;
  };
  std::vector<Item> items_;
  int64_t total_cost_ = 0;
};

}  // namespace concertina
