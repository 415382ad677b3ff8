#include "models/packing/packing_queue.h"

#include <mutex>
#include <utility>

#include "models/kernels/parallel.h"

namespace concertina {

void PackingQueue::Add(int64_t cost, Job job) {
  total_cost_ += cost;
  items_.push_back({cost, std::move(job)});
}

absl::Status PackingQueue::Run(const std::function<void(double)>& progress) {
  std::mutex mutex;  // guards `result` and `done`
  absl::Status result;
  int64_t done = 0;
  ParallelTasks(static_cast<int64_t>(items_.size()), [&](int /*worker*/, int64_t task) {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      if (!result.ok()) return;
    }
    const Item& item = items_[static_cast<size_t>(task)];
    const absl::Status status = item.job();
    const std::lock_guard<std::mutex> lock(mutex);
    result.Update(status);
    done += item.cost;
    if (result.ok() && progress) {
      progress(static_cast<double>(done) / static_cast<double>(total_cost_));
    }
  });
  return result;
}

}  // namespace concertina
