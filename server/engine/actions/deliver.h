#pragma once

#include "server/engine/engine_state.h"

namespace concertina {

// Samples a turn's next token from its logits [vocab]. Turns may be asked on several threads.
Sampler::Choice ChooseToken(const EngineState& state, Task& task, const float* logits);

// Streams the token's text and either leaves it to be fed by the next decode step or ends the turn.
void DeliverToken(EngineState& state, Task& task, const Sampler::Choice& choice);

// Both, for a turn alone.
void DeliverToken(EngineState& state, Task& task, const float* logits);

}  // namespace concertina
