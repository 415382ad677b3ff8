#pragma once

#include "server/engine/engine_state.h"

namespace concertina {

// One turn of the engine's loop: cancels what was cancelled, admits what waits, then slices of one
// prompt and one decode step for every generating session. Tokens of running answers are therefore
// about 1 + EngineOptions::prefill_share decode steps apart while prompts are computed. Returns
// false when there was nothing to do.
bool RunStep(EngineState& state);

// Gauges as they are now.
EngineGauges GaugesOf(const EngineState& state);

}  // namespace concertina
