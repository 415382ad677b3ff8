#pragma once

#include "server/engine/engine_state.h"

namespace concertina {

// Closes sessions that had no turn for the idle timeout, by the steady clock. Looks once a second
// at most.
void ExpireIdleSessions(EngineState& state);

}  // namespace concertina
