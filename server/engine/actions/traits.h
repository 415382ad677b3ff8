#pragma once

#include "absl/status/status.h"
#include "models/runner/model_runner.h"
#include "server/engine/turn_quality.h"

namespace concertina {

// What the device that runs the model cannot do is refused before anything is changed:
// INVALID_ARGUMENT with the field, or UNIMPLEMENTED for a whole call; the reason is NOT_ON_DEVICE.
absl::Status CheckTraits(const RunnerTraits& traits, const CacheSpec& spec);
absl::Status CheckBudgetTraits(const RunnerTraits& traits, const Budget& budget);
absl::Status CheckProbeTraits(const RunnerTraits& traits, const QualityOptions& quality);
absl::Status CheckForks(const RunnerTraits& traits);

}  // namespace concertina
