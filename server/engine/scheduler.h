#pragma once

#include "server/engine/engine_state.h"

namespace concertina {

// One turn of the engine's loop: cancels what was cancelled, admits what waits, then one decode
// step for every generating session and a few slices of one prompt. Tokens of running answers are
// therefore never further apart than EngineOptions::prefill_step and one slice. Returns false when
// there was nothing to do.
bool RunStep(EngineState& state);

// Gauges as they are now.
EngineGauges GaugesOf(const EngineState& state);

}  // namespace concertina
