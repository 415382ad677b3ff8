#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/budget.h"
#include "cache/policies/policy.h"

namespace concertina {

// A picture ready for the vision tower. Immutable and shared between sessions.
struct PreparedImage {
  std::string sha256;         // lower-case hexadecimal, of the encoded file
  std::vector<float> pixels;  // [3, side, side], normalised as the model wants it
};

// One piece of what somebody said: text or a picture.
struct ContentPart {
  std::string text;
  std::shared_ptr<const PreparedImage> image;  // null for text
  bool pin = false;                            // what it comes to in tokens stays in the cache
};

struct HistoryMessage {
  enum class Role { kSystem, kUser, kAssistant };
  Role role;
  std::vector<ContentPart> parts;
};

struct CacheOptions {
  std::string policy;  // empty: the engine's default
  PolicyOptions policy_options;
  std::optional<OnContextEnd> on_context_end;  // empty: the policy's default
  std::optional<EntryType> entry_type;         // empty: the engine's default
  std::optional<Budget> budget;                // empty: the engine's default
  TurnFold turn_fold = TurnFold::kRefold;
  bool pin_system_prompt = false;
  std::optional<double> image_budget;   // ImageFold::share; empty: the engine's default
  bool merge_images = false;            // ImageFold::merge
  std::optional<int32_t> probe_tokens;  // empty: the engine's default, or what a floor needs
  double min_quality = 0;               // QualityOptions; 0: no floor
};

struct OpenSessionParams {
  std::string session_id;  // UUIDv4; made by the engine if empty
  CacheOptions cache;
  std::string system_prompt;
  std::vector<HistoryMessage> history;
};

struct SamplingParams {
  float temperature = 0;  // 0: greedy
  float top_p = 1;
  int32_t top_k = 0;  // 0: all
  float min_p = 0;
  float repetition_penalty = 1;
  uint64_t seed = 0;  // 0: drawn
};

struct GenerateParams {
  std::string session_id;
  std::vector<ContentPart> parts;
  int32_t max_tokens = 0;  // 0: the engine's default
  SamplingParams sampling;
  std::vector<std::string> stop;
  bool logprobs = false;
  bool ignore_eos = false;
  std::optional<int32_t> expected_turn;
  std::chrono::steady_clock::time_point arrival;  // when the request reached the server
  std::chrono::nanoseconds image_time{0};         // spent on decoding pictures before the engine
};

// What UpdateSession changes; all of it or nothing.
struct SessionChanges {
  std::optional<Budget> budget;
  std::optional<int32_t> truncate_turn;  // back to the end of this turn; 0: to the beginning
};

struct ScoreParams {
  std::vector<std::vector<int32_t>> turns;  // before the prompt, each folded before the next
  std::vector<int32_t> prompt;
  std::vector<int32_t> continuation;
  std::vector<int32_t> choices;  // scored too in the place of the continuation's last token
  CacheOptions cache;
  bool fold_in_decode = false;
};

}  // namespace concertina
