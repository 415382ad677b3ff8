#include "server/engine/actions/expire.h"

namespace concertina {

void ExpireIdleSessions(EngineState& state) {
  constexpr std::chrono::seconds kInterval{1};
  const auto timeout = state.options.session_idle_timeout;
  const auto now = state.Now();
  if (timeout.count() <= 0 || now - state.expiry_checked < kInterval) return;
  state.expiry_checked = now;
  const auto expired = [&](const auto& item) {
    const EngineSession& session = *item.second;
    return !session.busy && now - session.last_active >= timeout;
  };
  const size_t count = std::erase_if(state.sessions, expired);
  for (size_t i = 0; i < count; ++i) state.observer->OnSessionClosed("expired");
}

}  // namespace concertina
