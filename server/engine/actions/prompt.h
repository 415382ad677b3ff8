#pragma once

#include <span>

#include "server/engine/engine_state.h"

namespace concertina {

// The beginning and the end of a prompt's way through the model; actions/prefill.h is what lies
// between.

// Token embeddings; the rows of pictures are filled later.
absl::Status EmbedPrompt(EngineState& state, Task& task);

// All embeddings are there: settles budget and positions, and begins with the first layer.
absl::Status BeginLayers(EngineState& state, Task& task);

// The prompt is through: probes what folding left of it, if the session wants that, or settles it.
void FinishPrompt(EngineState& state, Task& task);

// Takes a prompt that is folded for good into the transcript, reports the fold and passes the task
// on to decoding, to its next segment, or ends it. `last_hidden` [hidden]: of the prompt's own
// pass.
void SettlePrompt(EngineState& state, Task& task, std::span<const float> last_hidden);

// Forgets a prompt under way, if there is one; the cache may be left in pieces
// (ConversationCache::intact()).
void AbandonPrompt(EngineState& state, Task& task);

}  // namespace concertina
