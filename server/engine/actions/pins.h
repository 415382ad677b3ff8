#pragma once

#include <optional>
#include <string_view>

#include "server/engine/engine_state.h"

namespace concertina {

// What is pinned must fit the budget, so that it can stay.

// INVALID_ARGUMENT about `field` when the session's policy or the device pins nothing.
absl::Status CheckMayPin(const EngineState& state, const EngineSession& session,
                         std::string_view field);

// FAILED_PRECONDITION (PINS_EXCEED_BUDGET, with the numbers) when `budget` cannot hold what is
// pinned in the conversation so far or after any prompt that `task` (null: none) is yet to read.
// With `turns`, as if only so many were left of the conversation.
absl::Status CheckPins(const EngineSession& session, const Task* task, const Budget& budget,
                       std::optional<int32_t> turns = std::nullopt);

}  // namespace concertina
