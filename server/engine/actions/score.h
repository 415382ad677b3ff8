#pragma once

#include <span>
#include <vector>

#include "server/engine/engine_state.h"

namespace concertina {

// The prompt of a score is folded: scores the first continuation token from `last_hidden` [hidden],
// then either feeds the rest through decode steps (fold_in_decode) or scores it in one pass that
// leaves the cache as it is.
void ScoreAfterPrompt(EngineState& state, Task& task, const std::vector<float>& last_hidden);

// Notes the log-probability of the continuation's next token under logits [vocab].
void RecordScore(Task& task, std::span<const float> logits);

}  // namespace concertina
