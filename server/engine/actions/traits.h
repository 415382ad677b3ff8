#pragma once

#include "server/engine/engine_state.h"

namespace concertina {

// What the device that runs the model cannot do is refused before anything is changed:
// INVALID_ARGUMENT with the field, or UNIMPLEMENTED for a whole call; the reason is NOT_ON_DEVICE.
absl::Status CheckTraits(const EngineState& state, const CacheSpec& spec);
absl::Status CheckBudgetTraits(const EngineState& state, const Budget& budget);
absl::Status CheckForks(const EngineState& state);

}  // namespace concertina
