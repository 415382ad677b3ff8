#pragma once

#include "server/engine/engine_state.h"

namespace concertina {

// Runs one prefill slice of the task that has waited longest for its prefill. False if there is
// none. When a prompt is through: takes it into the transcript, reports the fold and passes the
// task on to decoding, to its next segment, or ends it.
bool RunPrefillSlice(EngineState& state);

// Forgets a prefill under way; the cache may be left in pieces (SessionCache::intact()).
void AbandonPrefill(EngineState& state, Task& task);

}  // namespace concertina
