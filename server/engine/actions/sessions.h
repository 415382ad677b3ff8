#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/engine/engine_state.h"

namespace concertina {

// A session of its own cache, not yet in the table. INVALID_ARGUMENT names the option.
absl::StatusOr<std::unique_ptr<EngineSession>> MakeSession(EngineState& state,
                                                           const CacheOptions& options);

// Puts a new session into the table. ALREADY_EXISTS, RESOURCE_EXHAUSTED at the cap, UNAVAILABLE
// while draining.
absl::StatusOr<EngineSession*> OpenSession(EngineState& state, const OpenSessionParams& params);

// NOT_FOUND, SESSION_NOT_FOUND.
absl::StatusOr<EngineSession*> FindSession(EngineState& state, const std::string& id);

// The same, and ABORTED, TURN_IN_FLIGHT, while a turn is queued or running.
absl::StatusOr<EngineSession*> FindIdleSession(EngineState& state, const std::string& id);

// Puts a copy of an idle session into the table; its cache shares the pages of the other.
absl::StatusOr<EngineSession*> ForkSession(EngineState& state, const std::string& id,
                                           const std::string& new_id);

// Takes a session out of the table, or marks it to go when its turn ends. False if it is not there.
bool CloseSession(EngineState& state, const std::string& id);

// The task working on a session, or null.
Task* TaskOf(EngineState& state, const EngineSession& session);

}  // namespace concertina
