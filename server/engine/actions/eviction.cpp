#include "server/engine/actions/eviction.h"

#include <algorithm>

#include "server/engine/actions/sessions.h"

namespace concertina {
namespace {

// Idle, or waiting with nothing prepared from its cache yet: sessions in the queue must not keep
// each other out.
bool MayEvict(const EngineState& state, const EngineSession& session) {
  if (session.cache->used_bytes() == 0) return false;
  if (!session.busy) return true;
  const auto of_session = [&](const auto& task) { return task->session == &session; };
  const auto found = std::find_if(state.waiting.begin(), state.waiting.end(), of_session);
  return found != state.waiting.end() && !(*found)->prepared;
}

EngineSession* LeastRecentlyUsed(EngineState& state, const EngineSession* except) {
  EngineSession* oldest = nullptr;
  for (const auto& [id, session] : state.sessions) {
    if (session.get() == except || !MayEvict(state, *session)) continue;
    // Those with a turn waiting are needed soonest.
    const auto order = [](const EngineSession& s) { return std::pair(s.busy, s.last_active); };
    if (!oldest || order(*session) < order(*oldest)) oldest = session.get();
  }
  return oldest;
}

}  // namespace

int64_t EvictCache(EngineState& state, EngineSession& session, std::string_view why) {
  const int64_t before = state.pool->used_bytes();
  session.cache->Clear();
  session.needs_rebuild = !session.transcript.empty();
  const int64_t freed = before - state.pool->used_bytes();
  state.observer->OnEvicted(why, freed);
  return freed;
}

int64_t EvictableBytes(const EngineState& state, const EngineSession* except) {
  int64_t bytes = 0;
  for (const auto& [id, session] : state.sessions) {
    if (session.get() != except && MayEvict(state, *session)) bytes += session->cache->used_bytes();
  }
  return std::min(bytes, state.pool->used_bytes());
}

bool ReserveForTurn(EngineState& state, EngineSession& session, int64_t bytes) {
  ConversationCache& cache = *session.cache;
  if (cache.Reserve(bytes).ok()) return true;
  const int64_t free = state.pool->capacity_bytes() - state.pool->reserved_bytes();
  const int64_t missing = bytes - cache.reserved_bytes() - free;
  if (missing > EvictableBytes(state, &session)) return false;
  while (EngineSession* oldest = LeastRecentlyUsed(state, &session)) {
    EvictCache(state, *oldest, "pool");
    if (cache.Reserve(bytes).ok()) return true;
  }
  return false;
}

}  // namespace concertina
