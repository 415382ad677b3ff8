#pragma once

#include <optional>

#include "server/engine/engine_state.h"

namespace concertina {

// A session's budget may change at any time; its cache follows between two steps, and the
// transcript remembers from which token on, so that a rebuild folds exactly as the session did.

// Before a prefill: the session's budget, or the recorded one while its transcript is replayed.
void UseBudgetForPrompt(Task& task);

// Before an answer token is fed, likewise.
void UseBudgetForToken(Task& task);

// An upper bound of the cache bytes the task may use until it ends. The cache's budget is left as
// it is.
int64_t CacheBound(Task& task);

// Changes the budget of a live session, of which only `turns` (empty: all) will be left.
// INVALID_ARGUMENT; RESOURCE_EXHAUSTED when a turn in flight would need more of the pool than there
// is; the errors of CheckPins.
absl::Status ChangeBudget(EngineState& state, EngineSession& session, const Budget& budget,
                          std::optional<int32_t> turns = std::nullopt);

}  // namespace concertina
