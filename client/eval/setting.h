#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "concertina/v1/inference_service.pb.h"

namespace concertina::eval {

// One way of keeping the cache, to be measured. The texts are as they were asked for.
struct Setting {
  std::string policy_name;  // "elastic:pure-sink"
  std::string budget_name;  // "0.2", "256t", "64MiB"
  std::string entry_type;   // "bf16"; "default": the server's
  v1::CachePolicy policy;
  v1::Budget budget;
  v1::ScoreFold fold = v1::SCORE_FOLD_PREFILL_ONLY;
  bool reference = false;  // the full cache that all are compared with

  // "concertina 0.2 int8", unique in a run.
  std::string Name() const;
  // Settings with the same one differ in their budgets: a line of a plot.
  std::string LineName() const;
  std::string FoldName() const { return fold == v1::SCORE_FOLD_DECODE ? "decode" : "prefill"; }
};

struct SettingChoices {
  std::vector<std::string> policies;  // "concertina:entries=packed": of these entries alone
  std::vector<std::string> budgets;
  std::vector<std::string> entry_types;
  v1::ScoreFold fold = v1::SCORE_FOLD_PREFILL_ONLY;
};

// The full cache with the server's own entry type first, then every combination once; the policy
// "full" has no budgets. INVALID_ARGUMENT names what cannot be read.
absl::StatusOr<std::vector<Setting>> MakeSettings(const SettingChoices& choices);

// A policy's name with its options: "elastic:pure-sink:merge=none",
// "concertina:images=0.2:merge-images".
absl::StatusOr<v1::CachePolicy> ParsePolicy(const std::string& text);

// "bf16", "f32", "int8" and whatever else the API names so; "default".
absl::StatusOr<v1::EntryType> ParseEntryType(const std::string& text);

}  // namespace concertina::eval
