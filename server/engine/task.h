#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/tokenizer/streaming_detokenizer.h"
#include "server/engine/engine.h"
#include "server/engine/prompt_state.h"
#include "server/engine/sampler.h"
#include "server/engine/session.h"
#include "server/engine/stop_matcher.h"

namespace concertina {

// Work on one session: a turn, the replay of a history, scoring, or a conversation computed anew
// while it is idle (actions/refine.h). It walks through its segments
// (prefill, then known answer tokens) and, for a turn, goes on to generate. Engine thread only,
// except for `cancelled`.
//
//   kWaiting -> kPrefill -> kDecode -> (next segment: kPrefill ...) -> kDone
struct Task {
  enum class Kind { kTurn, kReplay, kScore, kRefine };
  enum class Phase { kWaiting, kPrefill, kDecode, kDone };
  using TimePoint = std::chrono::steady_clock::time_point;

  Kind kind = Kind::kTurn;
  Phase phase = Phase::kWaiting;
  EngineSession* session = nullptr;
  std::unique_ptr<EngineSession>
      owned_session;  // kScore, kRefine: a session of its own, never listed

  std::deque<Segment> segments;  // front is being worked on
  size_t replayed_segments =
      0;                  // leading segments of a rebuild: they are in the transcript already
  size_t answer_fed = 0;  // of the front segment's known answer
  std::unique_ptr<PromptState> prompt;  // kPrefill: null until it is this task's turn

  // kTurn
  bool prepared = false;  // its prompt is built: the first attempt to admit it does
  GenerateParams params;
  std::shared_ptr<TurnSink> sink;
  std::optional<Sampler> sampler;
  std::optional<StreamingDetokenizer> detokenizer;
  std::optional<StopMatcher> stops;
  int32_t max_tokens = 0;
  int32_t next_token = -1;  // to be fed by the next decode step
  int64_t generated = 0;    // tokens sampled and kept (end tokens excluded)
  DeltaEvent pending;       // tokens whose text is not complete yet
  std::string decoded;      // scratch
  int64_t image_tokens = 0, prompt_tokens = 0, carried_tokens = 0;
  TimePoint progress_sent;

  // kReplay, kScore, kRefine
  std::function<void(absl::Status)> on_ended;
  bool fold_in_decode = false;
  // The cache was changed for the prompt now in prefill (its positions, or it has the prompt but
  // the transcript not yet): without that prompt it is void.
  bool unsettled = false;
  bool scoring_pass = false;  // kScore: the prompt is folded, the continuation is in prefill
  std::vector<int32_t> continuation;
  std::vector<int32_t> choices;
  std::vector<float> choice_logprobs;
  std::vector<float> score_logprobs;
  std::vector<int32_t> score_argmax;
  CacheSnapshot score_cache;

  std::vector<FoldReport> folds;
  std::chrono::nanoseconds fold_time{0};  // of these
  TurnQuality quality;
  TurnTimings timings;
  TimePoint arrival, queued, started, first_token, last_token, prefill_begin;

  // Set by any thread; the engine acts on it between two steps.
  struct Control {
    std::atomic<bool> cancelled = false;
    absl::Status status;  // written once before `cancelled`
  };
  std::shared_ptr<Control> control = std::make_shared<Control>();

  // Tokens that will be fed whatever happens: prompts, known answers, a scored continuation.
  int64_t known_tokens() const {
    auto tokens = static_cast<int64_t>(fold_in_decode ? continuation.size() : 0);
    for (const Segment& segment : segments) tokens += segment.tokens();
    return tokens;
  }
};

}  // namespace concertina
