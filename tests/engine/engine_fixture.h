#pragma once

#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "server/engine/engine.h"

namespace concertina::testing {

// A model folder in f32; ends the process when it cannot be read.
std::shared_ptr<const Model> LoadOrDie(const std::string& path);

// The tiny random LLaVA checkpoint of the golden fixtures, f32, loaded once.
std::shared_ptr<const Model> TinyModel();

// A picture of one colour, as the vision tower wants it.
std::shared_ptr<const PreparedImage> PlainImage(const Model& model, float value);

// Collects the events of one turn. Thread-safe.
class RecordingSink final : public TurnSink {
 public:
  void OnEvent(TurnEvent event) override;
  void OnFinished(absl::Status status) override;

  // Blocks until the turn is over.
  absl::Status Wait();
  // Blocks until this many tokens were delivered, or the turn is over.
  void WaitForTokens(size_t count);
  // Blocks until an event of this type was seen, or the turn is over.
  template <typename Event>
  void WaitFor() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return status_ || Find<Event>(); });
  }

  std::string text() const;
  std::vector<int32_t> tokens() const;
  std::vector<float> logprobs() const;
  size_t deltas() const;
  std::optional<FoldedEvent> folded() const;
  std::optional<CompletedEvent> completed() const;
  std::vector<size_t> event_kinds() const;

 private:
  template <typename Event>
  const Event* Find() const {
    for (const TurnEvent& event : events_) {
      if (const auto* found = std::get_if<Event>(&event)) return found;
    }
    return nullptr;
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<TurnEvent> events_;
  std::optional<absl::Status> status_;
};

// Decode steps of 1 ms at least: a turn of hundreds of tokens outlasts what a test does meanwhile,
// however late the test's own thread gets to run.
class UnhurriedSteps final : public EngineObserver {
 public:
  void OnBatch(int64_t rows) override;
};

// An engine and blocking shorthands for its calls.
class TestEngine {
 public:
  explicit TestEngine(EngineOptions options = DefaultOptions(),
                      std::shared_ptr<const Model> model = TinyModel(),
                      std::shared_ptr<EngineObserver> observer = nullptr,
                      std::shared_ptr<const Clock> clock = nullptr);

  static EngineOptions DefaultOptions();  // f32 entries, ratio 0.2, 64 MiB pool

  absl::StatusOr<SessionInfo> Open(OpenSessionParams params = {});
  std::string OpenId(CacheOptions cache = {});
  absl::StatusOr<SessionInfo> Get(const std::string& id);
  absl::StatusOr<SessionInfo> SetBudget(const std::string& id, Budget budget);
  absl::StatusOr<SessionInfo> Truncate(const std::string& id, int32_t turn);
  absl::StatusOr<SessionInfo> Fork(const std::string& id);
  absl::StatusOr<int64_t> Evict(const std::string& id);
  bool Close(const std::string& id);

  std::shared_ptr<RecordingSink> Start(GenerateParams params,
                                       std::shared_ptr<Engine::Handle>* handle = nullptr);
  // Runs one greedy turn of exactly `max_tokens` tokens.
  std::shared_ptr<RecordingSink> Turn(const std::string& id, const std::string& text,
                                      int32_t max_tokens,
                                      std::shared_ptr<const PreparedImage> image = nullptr);
  static GenerateParams Params(const std::string& id, const std::string& text, int32_t max_tokens,
                               std::shared_ptr<const PreparedImage> image = nullptr);
  absl::StatusOr<ScoreResult> Score(ScoreParams params);

  // The engine's ledger, after everything asked so far.
  EngineGauges Settled();
  Engine& engine() { return *engine_; }

 private:
  std::unique_ptr<Engine> engine_;
};

}  // namespace concertina::testing
