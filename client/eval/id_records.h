#pragma once

#include <optional>

#include "absl/status/statusor.h"
#include "client/eval/record.h"
#include "nlohmann/json.hpp"

namespace concertina::eval {

// {"prompt", "ans" or "continuation", "full_nll", "special"}. Nothing if there is nothing to score.
absl::StatusOr<std::optional<ScoredPrompt>> ParseScoredPrompt(const nlohmann::json& record);

// Turns {"ids", "probe", "gold", "cand"} of a conversation.
absl::StatusOr<ProbedConversation> ParseProbedConversation(const nlohmann::json& turns);

}  // namespace concertina::eval
