#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "models/bundle/model.h"
#include "server/engine/clock.h"
#include "server/engine/events.h"
#include "server/engine/observer.h"
#include "server/engine/requests.h"

namespace concertina {

struct EngineOptions {
  int64_t pool_bytes = int64_t{1} << 30;
  int32_t max_sessions = 1024;
  int32_t max_queued_turns = 256;
  // A turn that was not admitted this long after its arrival is refused.
  std::chrono::milliseconds max_queue_wait{30'000};
  // A session without a turn for this long is closed; zero: never.
  std::chrono::milliseconds session_idle_timeout{30 * 60'000};
  // What sessions remember of their conversations, tokens and prepared pictures, each and in all.
  int64_t max_session_transcript_bytes = int64_t{64} << 20;
  int64_t max_transcript_bytes = int64_t{1} << 30;
  int32_t max_batch = 64;            // turns decoding together
  int32_t max_tokens_default = 512;  // of one answer
  int32_t max_tokens_limit = 16384;
  int32_t prefill_slice_rows = 256;  // the most prompt rows of one layer computed together
  // While answers run, prompts are computed between two decode steps for this share of what a
  // decode step takes, and no longer than prefill_step: a token then comes up to 1 + share times as
  // late, and a prompt takes 1 + 1 / share times its own time.
  double prefill_share = 0.8;
  std::chrono::milliseconds prefill_step{250};
  int32_t threads = 2;
  std::string default_policy = "concertina";
  Budget default_budget{.unit = Budget::Unit::kRatio, .ratio = 0.2};
  EntryType default_entry_type = EntryType::kBf16;
  int32_t default_probe_tokens = 0;  // QualityOptions::probe_tokens
  double default_image_budget = 0;   // ImageFold::share, of sessions that can have one
};

// Owns sessions, pool and model on one thread of its own. Every method is thread-safe and returns
// at once; `done` and sinks are called on the engine thread and must not block. Errors carry a
// reason or a field (errors.h).
class Engine {
 public:
  template <typename T>
  using Done = std::function<void(absl::StatusOr<T>)>;

  static absl::StatusOr<std::unique_ptr<Engine>> Start(EngineOptions options,
                                                       std::shared_ptr<const Model> model,
                                                       std::shared_ptr<EngineObserver> observer,
                                                       std::shared_ptr<const Clock> clock);
  // Cancels what runs and joins the thread.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  class Handle;
  // The handle cancels the replay of a history; the session is then not opened.
  std::shared_ptr<Handle> OpenSession(OpenSessionParams params, Done<SessionInfo> done);
  void GetSession(std::string session_id, Done<SessionInfo> done);
  // Sessions with id > after, ordered, at most `limit`.
  void ListSessions(std::string after, int32_t limit, Done<std::vector<SessionInfo>> done);
  void UpdateSession(std::string session_id, SessionChanges changes, Done<SessionInfo> done);
  // A session that begins as a copy of another one. `new_id`: UUIDv4, made by the engine if empty.
  void ForkSession(std::string session_id, std::string new_id, Done<SessionInfo> done);
  // Gives up the cache of an idle session; returns the bytes freed.
  void EvictSession(std::string session_id, Done<int64_t> done);
  // True if it existed. A turn in flight is cancelled first.
  void CloseSession(std::string session_id, Done<bool> done);

  // Cancels what it was returned for. Must not outlive the engine.
  class Handle {
   public:
    virtual ~Handle() = default;
    // Thread-safe, idempotent. `status` is what the request ends with (CANCELLED,
    // DEADLINE_EXCEEDED).
    virtual void Cancel(absl::Status status) = 0;
  };
  // Takes up a turn. The sink's OnFinished is called exactly once.
  std::shared_ptr<Handle> Generate(GenerateParams params, std::shared_ptr<TurnSink> sink);
  std::shared_ptr<Handle> Score(ScoreParams params, Done<ScoreResult> done);

  // No new sessions or turns from now on (UNAVAILABLE, DRAINING); those waiting are refused.
  void StartDraining();
  // StartDraining, then waits. True once nothing runs, false at the timeout. Blocks.
  bool Drain(std::chrono::milliseconds timeout);

  // As of the last step, or at most half a second old while nothing runs.
  EngineGauges gauges() const;
  // The most that scratch memory can come to; see workspace_bound.h.
  int64_t workspace_bound_bytes() const;
  const Model& model() const;
  const EngineOptions& options() const;

 private:
  class Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace concertina
