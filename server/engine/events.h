#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "cache/budget.h"
#include "cache/entry_layout.h"
#include "cache/fold_report.h"
#include "cache/policies/policy.h"
#include "server/engine/turn_quality.h"

namespace concertina {

// State of one session's cache at a moment (proto: CacheState).
struct CacheSnapshot {
  Budget budget;
  int64_t budget_entries = 0;  // summed over layers and KV heads
  bool raised_to_floor = false;
  int64_t used_bytes = 0;
  int64_t payload_bytes = 0;
  int64_t live_entries = 0;
  int64_t tokens_seen = 0;
  int64_t full_bytes = 0;  // what policy "full" would use
  int64_t next_position = 0;
  int64_t shared_bytes = 0;  // part of used_bytes in pages shared with forks
};

struct SessionInfo {
  std::string session_id;
  bool busy = false;
  int32_t turns = 0;
  std::string policy;
  PolicyOptions policy_options;
  OnContextEnd on_context_end;
  EntryType entry_type;
  TurnFold turn_fold = TurnFold::kRefold;
  bool pin_system_prompt = false;
  ImageFold images;
  QualityOptions quality;
  int32_t repeated_turns = 0;  // whose prompts were read a second time
  CacheSnapshot cache;
  std::chrono::system_clock::time_point created;
  std::chrono::system_clock::time_point last_used;
  bool evicted = false;  // the cache was given up; the next turn computes it again
  std::optional<std::chrono::system_clock::time_point> expires;  // empty: never, or not while busy
  int64_t transcript_bytes = 0;
};

struct StartedEvent {
  std::chrono::nanoseconds queue_time;
  int32_t turn;
};

struct PrefillProgressEvent {
  int64_t done;
  int64_t total;
};

struct FoldedEvent {
  std::vector<FoldReport> layers;
  CacheSnapshot cache;
};

struct DeltaEvent {
  std::string text;  // whole UTF-8 characters
  std::vector<int32_t> token_ids;
  std::vector<float> logprobs;
};

enum class FinishReason { kStop, kLength, kStopString };

struct TurnTimings {
  std::chrono::nanoseconds queue{0}, vision{0}, prefill{0}, fold{0}, probe{0},
      time_to_first_token{0}, decode{0};
  double tokens_per_second = 0;
};

struct CompletedEvent {
  FinishReason finish_reason;
  int64_t prompt_tokens, image_tokens, carried_tokens, generated_tokens;
  CacheSnapshot cache;
  TurnTimings timings;
  int32_t turn;
  TurnQuality quality;
};

using TurnEvent =
    std::variant<StartedEvent, PrefillProgressEvent, FoldedEvent, DeltaEvent, CompletedEvent>;

// Receives the events of one turn. Called on the engine thread: must return at once.
class TurnSink {
 public:
  virtual ~TurnSink() = default;
  virtual void OnEvent(TurnEvent event) = 0;
  // As OnEvent, for the one kind that comes every step. `delta` is used again for the next: take
  // out of it what is to stay.
  virtual void OnDelta(const DeltaEvent& delta) { OnEvent(delta); }
  // The last call. OK after CompletedEvent; CANCELLED, DEADLINE_EXCEEDED or a refusal otherwise.
  virtual void OnFinished(absl::Status status) = 0;
};

struct ScoreResult {
  std::vector<float> logprobs;
  std::vector<int32_t> argmax_ids;
  std::vector<float> choice_logprobs;
  CacheSnapshot cache;
  std::vector<FoldReport> layers;
};

}  // namespace concertina
