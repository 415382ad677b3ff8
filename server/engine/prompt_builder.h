#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cache/turn_rules.h"
#include "models/bundle/model.h"
#include "server/engine/requests.h"

namespace concertina {

// Tokens to prefill, and after them tokens that are already known (an answer being replayed).
struct Segment {
  std::vector<int32_t> prompt;
  std::vector<std::pair<int32_t, int32_t>> image_spans;  // (first row, rows) in `prompt`, in order
  std::vector<std::shared_ptr<const PreparedImage>> images;
  std::vector<TokenSpan> pins;  // rows of `prompt` that stay in the cache, in order
  std::vector<int32_t> answer;  // fed after the prompt as decode steps
  int32_t carried = 0;          // leading prompt tokens that end the answer before: not fed there
  // The budgets it was folded under, so that a rebuild folds alike.
  Budget budget;
  struct BudgetChange {
    size_t answer_index;  // held from this answer token on
    Budget budget;
  };
  std::vector<BudgetChange> budget_changes;
  // The prompt was, or on the way again will be, read a second time (PromptPass::Options).
  bool repeated = false;
  int64_t room = 0;  // positions set aside for the prompt and its answer when the segment begins

  int64_t tokens() const { return static_cast<int64_t>(prompt.size() + answer.size()); }
};

// The prompt of a session's first turn: system prompt (the family's default if empty), the user's
// parts.
absl::StatusOr<Segment> FirstPrompt(const Model& model, const std::string& system_prompt,
                                    const std::vector<ContentPart>& parts,
                                    bool pin_system_prompt = false);

// The prompt of a later turn: closes the answer in the cache, then the user's parts.
absl::StatusOr<Segment> NextPrompt(const Model& model, const std::vector<ContentPart>& parts);

// The text parts of a message, one after the other.
std::string TextOf(const HistoryMessage& message);

// A whole history as segments, each with its answer. INVALID_ARGUMENT names the message that is out
// of order. A system message in the history takes the place of `system_prompt`.
absl::StatusOr<std::vector<Segment>> HistorySegments(const Model& model,
                                                     const std::string& system_prompt,
                                                     const std::vector<HistoryMessage>& history,
                                                     bool pin_system_prompt = false);

}  // namespace concertina
