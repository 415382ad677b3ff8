#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/rates.h"
#include "server/engine/engine.h"

namespace concertina::bench {

// One turn as its caller saw it.
struct TurnTrace {
  BenchClock::time_point asked;
  Arrivals tokens;
  CompletedEvent completed;

  // From the call to the first token, in seconds.
  double FirstToken() const;
};

// The rate of all turns while every one was generating; see rates.h.
struct StepRate {
  double tokens_per_s = 0;
  double ms_per_step = 0;  // of one token of every turn
};
StepRate RateOf(const std::vector<TurnTrace>& traces);

// The most there was of something at the end of any step. Thread-safe.
class PeakObserver final : public EngineObserver {
 public:
  void OnGauges(const EngineGauges& gauges) override;
  void Reset();
  int64_t pool_used_bytes() const;
  int64_t pool_reserved_bytes() const;
  int64_t workspace_bytes() const;

 private:
  mutable std::mutex mutex_;
  EngineGauges peaks_;
};

// What a session of a measurement keeps: policy "full", or another with its budget.
CacheOptions Cache(const std::string& policy, Budget budget);

// Of a flag: "auto", or the type of all matrices. INVALID_ARGUMENT for anything else.
absl::StatusOr<WeightSettings> WeightsOf(const std::string& name);

// An engine called directly, one call after another. Errors are the engine's.
class Driver {
 public:
  static absl::StatusOr<std::unique_ptr<Driver>> Start(const EngineOptions& options,
                                                       std::shared_ptr<const Model> model,
                                                       std::string text);

  absl::StatusOr<std::string> Open(const CacheOptions& cache);
  absl::StatusOr<std::vector<std::string>> OpenMany(int count, const CacheOptions& cache);
  absl::StatusOr<SessionInfo> Get(const std::string& id);
  absl::Status Close(const std::vector<std::string>& ids);

  // A user's words which, as the first turn of a session, make a prompt of `tokens` tokens, or as
  // nearly as the words allow. Different numbers give words from different places of the text.
  absl::StatusOr<std::string> PromptOf(int tokens, int number);

  // One greedy turn of exactly `generate` tokens in every session at once.
  absl::StatusOr<std::vector<TurnTrace>> Run(const std::vector<std::string>& ids,
                                             const std::vector<std::string>& prompts, int generate);

  Engine& engine() { return *engine_; }
  const Model& model() const { return *model_; }
  PeakObserver& peaks() { return *peaks_; }

 private:
  Driver() = default;

  std::shared_ptr<const Model> model_;
  std::shared_ptr<PeakObserver> peaks_;
  std::unique_ptr<Engine> engine_;
  std::vector<TokenId> text_;
};

}  // namespace concertina::bench
