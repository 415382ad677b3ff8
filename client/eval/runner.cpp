#include "client/eval/runner.h"

#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "client/errors.h"

namespace concertina::eval {

std::vector<Job> MissingCells(const std::vector<Record>& records,
                              const std::vector<Setting>& settings, const Measurer& measurer,
                              const Store& store) {
  std::vector<Job> jobs;
  std::set<std::string> keys;  // the same record twice is measured once
  for (const Setting& setting : settings) {
    for (const Record& record : records) {
      const std::string key = measurer.KeyOf(record, setting);
      if (store.Find(key) == nullptr && keys.insert(key).second) {
        jobs.push_back({&record, &setting});
      }
    }
  }
  return jobs;
}

Runner::Result Runner::Run(const std::vector<Job>& jobs, int concurrency) {
  std::vector<std::thread> threads;
  const auto count = std::min(jobs.size(), static_cast<size_t>(concurrency));
  for (size_t i = 0; i < count; ++i) threads.emplace_back([&] { Work(jobs); });
  for (std::thread& thread : threads) thread.join();
  const std::lock_guard lock(mutex_);
  return result_;
}

void Runner::Work(const std::vector<Job>& jobs) {
  while (!stopped_) {
    const size_t index = next_++;
    if (index >= jobs.size()) return;
    RunOne(jobs[index]);
  }
}

void Runner::RunOne(const Job& job) {
  const auto cell = measurer_.Measure(*job.record, *job.setting);
  if (!cell.ok()) return Fail(job, cell.status());
  if (absl::Status status = store_.Add(*cell); !status.ok()) {
    stopped_ = true;
    const std::lock_guard lock(mutex_);
    result_.status = status;
    return;
  }
  progress_.Done(job.setting->Name());
}

void Runner::Fail(const Job& job, const absl::Status& status) {
  if (stopped_) return;  // by a signal or another failure: this cell is only unfinished
  const std::lock_guard lock(mutex_);
  if (status.code() == absl::StatusCode::kUnavailable) {
    stopped_ = true;
    result_.status = status;
    return;
  }
  const bool conversation = !std::holds_alternative<ScoredPrompt>(job.record->content);
  const bool too_long = client::DetailsOf(status).reason == "CONTEXT_EXHAUSTED";
  if (conversation && too_long && job.setting->reference) {
    result_.too_long.insert(job.record);
  } else {
    ++result_.failed;
  }
  const std::string why = client::Describe(status);
  if (told_.insert(absl::StrCat(job.setting->Name(), "\n", why)).second) {
    progress_.Note(absl::StrCat(job.record->name, ", ", job.setting->Name(), ": ", why));
  }
}

}  // namespace concertina::eval
