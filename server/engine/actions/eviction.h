#pragma once

#include <string_view>

#include "server/engine/engine_state.h"

namespace concertina {

// Idle sessions keep their caches for as long as nobody else needs the room. What is given up is
// computed again, to the same tokens, from the transcript when the session's next turn begins.

// Gives up one session's cache; returns the bytes the pool got back (pages shared with a fork
// stay). REQUIRES: no task is running on it.
int64_t EvictCache(EngineState& state, EngineSession& session, std::string_view why);

// Bytes the pool could get back by evicting every session that may be evicted, except one. Too
// many where forks of those share pages with others.
int64_t EvictableBytes(const EngineState& state, const EngineSession* except);

// Sets the session's reservation to `bytes`. Evicts others for it, least recently used first, but
// only when that suffices. False when it does not.
bool ReserveForTurn(EngineState& state, EngineSession& session, int64_t bytes);

}  // namespace concertina
