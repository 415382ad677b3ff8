#pragma once

#include "server/engine/engine_state.h"

namespace concertina {

// Room in the trained context for a segment about to be prefilled: rebases the session's positions
// if its next `room` tokens would pass the end. Each segment remembers its room, so that a rebuild
// rebases at the same places. FAILED_PRECONDITION CONTEXT_EXHAUSTED if the session refuses or it
// cannot fit.
absl::Status MakeRoom(EngineState& state, ConversationCache& cache, int64_t room);

// The same question before any work, for a whole task; also settles a turn's max_tokens.
absl::Status CheckContext(const EngineState& state, Task& task);

}  // namespace concertina
