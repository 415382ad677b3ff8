#pragma once

#include "server/engine/engine_state.h"

namespace concertina {

// One token for every task that decodes: known answers are fed, sampled tokens are fed and followed
// by the next. False if no task decodes.
bool RunDecodeStep(EngineState& state);

}  // namespace concertina
