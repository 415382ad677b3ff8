#include "client/bench/load.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "client/bench/worker.h"

namespace concertina::bench {

Load::Load(std::vector<std::unique_ptr<client::Client>> clients, const PromptMaker& prompts,
           const LoadOptions& options)
    : clients_(std::move(clients)), prompts_(prompts), options_(options), pacer_(options.pace) {
  for (int i = 0; i < options_.sessions; ++i) {
    client::Client& client = *clients_[static_cast<size_t>(i) % clients_.size()];
    workers_.push_back(std::make_unique<Worker>(*this, client));
  }
}

Load::~Load() = default;

absl::StatusOr<Report> Load::Run() {
  start_ = Clock::now();
  std::vector<std::thread> threads;
  for (const auto& worker : workers_) threads.emplace_back([&worker] { worker->Run(); });
  for (auto& thread : threads) thread.join();
  const std::lock_guard lock(mutex_);
  if (!fault_.ok()) return fault_;
  return collector_.Finish(last_end_s_);
}

void Load::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    changed_.notify_all();
  }
  for (const auto& worker : workers_) worker->Cancel();
}

Pacer::Offset Load::SinceStart() const { return Clock::now() - start_; }

bool Load::WaitUntil(Pacer::Offset offset) {
  std::unique_lock lock(mutex_);
  const auto then = start_ + std::chrono::duration_cast<Clock::duration>(offset);
  changed_.wait_until(lock, then, [this] { return stopped_.load(); });
  return !stopped_;
}

bool Load::Enter() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return stopped_ || in_flight_ < options_.concurrency; });
  if (!stopped_) ++in_flight_;
  return !stopped_;
}

void Load::Leave() {
  const std::lock_guard lock(mutex_);
  --in_flight_;
  last_end_s_ = SinceStart().count();
  changed_.notify_all();
}

}  // namespace concertina::bench
