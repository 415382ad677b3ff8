#pragma once

#include <span>
#include <vector>

#include "server/engine/actions/prefill.h"

namespace concertina {

// The prompt of a score is folded: scores the first continuation token from `last_hidden` [hidden],
// then either lets the rest be fed through decode steps (fold_in_decode) or begins a pass over it
// that leaves the cache as it is.
void ScoreAfterPrompt(EngineState& state, Task& task, std::span<const float> last_hidden);

// One slice of that pass: hidden states first, then logits, some rows at a time. False when no
// slice fits.
absl::StatusOr<bool> RunScoreSlice(EngineState& state, Task& task, const SliceLimit& limit);

// Notes the log-probability of the continuation's next token under logits [vocab].
void RecordScore(Task& task, std::span<const float> logits);

}  // namespace concertina
