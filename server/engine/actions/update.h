#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "server/engine/engine_state.h"

namespace concertina {

// Changes to a live session, all of them or none. NOT_FOUND; INVALID_ARGUMENT naming the field;
// ABORTED for a truncation while a turn is in flight; RESOURCE_EXHAUSTED when the pool cannot hold
// the budget.
absl::StatusOr<EngineSession*> UpdateSession(EngineState& state, const std::string& id,
                                             const SessionChanges& changes);

}  // namespace concertina
