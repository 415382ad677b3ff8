#include "server/engine/actions/traits.h"

#include "server/engine/errors.h"

namespace concertina {

absl::Status CheckBudgetTraits(const RunnerTraits& traits, const Budget& budget) {
  if (budget.unit != Budget::Unit::kBytes || traits.byte_budgets) {
    return absl::OkStatus();
  }
  return FieldError("budget.bytes", reason::kNotOnDevice,
                    "the device holds budgets of ratios and tokens, not of bytes");
}

absl::Status CheckTraits(const RunnerTraits& traits, const CacheSpec& spec) {
  if (traits.only_entry_type && *traits.only_entry_type != spec.entry_type) {
    return FieldError("policy.entry_type", reason::kNotOnDevice,
                      "the device stores entries in the type of the weights only");
  }
  if (spec.on_context_end == OnContextEnd::kRebase && !traits.rebases) {
    return FieldError("policy.on_context_end", reason::kNotOnDevice,
                      "a conversation on the device ends at the trained context");
  }
  if (spec.turn_fold != TurnFold::kRefold && !traits.turn_rules) {
    return FieldError("policy.turn_fold", reason::kNotOnDevice, "turns on the device are refolded");
  }
  if (spec.images.share > 0 && !traits.turn_rules) {
    return FieldError("policy.image_budget", reason::kNotOnDevice,
                      "pictures on the device share the budget");
  }
  return CheckBudgetTraits(traits, spec.budget);
}

absl::Status CheckProbeTraits(const RunnerTraits& traits, const QualityOptions& quality) {
  if (quality.probe_tokens == 0 || traits.probes) return absl::OkStatus();
  return FieldError(quality.min_quality > 0 ? "policy.min_quality" : "policy.probe_tokens",
                    reason::kNotOnDevice, "a prompt on the device is not read again");
}

absl::Status CheckForks(const RunnerTraits& traits) {
  if (traits.forks) return absl::OkStatus();
  return ReasonError(absl::StatusCode::kUnimplemented, reason::kNotOnDevice,
                     "sessions on the device cannot be forked");
}

}  // namespace concertina
