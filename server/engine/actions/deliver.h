#pragma once

#include "server/engine/engine_state.h"

namespace concertina {

// Memory for choosing tokens on any thread of the kernels' loops: DecodeLists::scratch.
void ReserveScratch(EngineState& state);

// Samples a turn's next token from its logits [vocab]. Turns may be asked on several threads.
Sampler::Choice ChooseToken(const EngineState& state, Task& task, const float* logits,
                            SamplerScratch* scratch);

// Streams the token's text and either leaves it to be fed by the next decode step or ends the turn.
void DeliverToken(EngineState& state, Task& task, const Sampler::Choice& choice);

// Both, for a turn alone.
void DeliverToken(EngineState& state, Task& task, const float* logits);

}  // namespace concertina
