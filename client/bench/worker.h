#pragma once

#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "client/bench/load.h"

namespace concertina::bench {

// One user: holds one conversation after another while the run has requests left.
class Load::Worker {
 public:
  Worker(Load& load, client::Client& client) : load_(load), client_(client) {}

  void Run();
  // Cancels the turn in flight. Thread-safe.
  void Cancel();

 private:
  // Says one turn, due at `due`, in the session at hand or a new one.
  void Request(Pacer::Offset due);
  absl::Status EnsureSession();
  absl::StatusOr<std::vector<v1::InputPart>> MakeParts();
  // One turn with its retries, as the client sees them.
  absl::StatusOr<client::Answer> Ask(const std::vector<v1::InputPart>& parts, TurnTimer& timer);
  void Fail(const absl::Status& status);
  void EndSession();

  Load& load_;
  client::Client& client_;
  uint64_t session_number_ = 0;
  int turns_ = 0;                        // said in the session at hand
  std::optional<v1::CacheState> cache_;  // after its last answer
  std::mutex mutex_;
  std::optional<client::Conversation> conversation_;  // replaced under mutex_
};

}  // namespace concertina::bench
