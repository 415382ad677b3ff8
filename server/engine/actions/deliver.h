#pragma once

#include "server/engine/engine_state.h"

namespace concertina {

// Samples a turn's next token from its logits [vocab], streams its text and either leaves it to be
// fed by the next decode step or ends the turn.
void DeliverToken(EngineState& state, Task& task, const float* logits);

}  // namespace concertina
