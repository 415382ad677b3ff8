#include "server/rpc/parse/cache_options.h"

#include <algorithm>
#include <limits>
#include <string>

#include "server/engine/errors.h"
#include "server/rpc/parse/checks.h"

namespace concertina {
namespace {

constexpr std::string_view kConcertina = "concertina";
constexpr std::string_view kElastic = "elastic";
constexpr std::string_view kConcertinaHq = "concertina-hq";

absl::StatusOr<MergeMode> ParseMerge(v1::MergeMode mode) {
  switch (mode) {
    case v1::MERGE_MODE_UNSPECIFIED:
    case v1::MERGE_MODE_MEAN:
      return MergeMode::kMean;
    case v1::MERGE_MODE_MASS:
      return MergeMode::kMass;
    case v1::MERGE_MODE_NONE:
      return MergeMode::kNone;
    case v1::MERGE_MODE_V_ONLY:
      return MergeMode::kVOnly;
    default:
      return FieldError("policy.merge", "unknown value");
  }
}

absl::StatusOr<std::optional<OnContextEnd>> ParseOnContextEnd(v1::OnContextEnd value) {
  switch (value) {
    case v1::ON_CONTEXT_END_UNSPECIFIED:
      return std::nullopt;
    case v1::ON_CONTEXT_END_REBASE:
      return OnContextEnd::kRebase;
    case v1::ON_CONTEXT_END_REFUSE:
      return OnContextEnd::kRefuse;
    default:
      return FieldError("policy.on_context_end", "unknown value");
  }
}

absl::StatusOr<std::optional<EntryType>> ParseEntryType(v1::EntryType value) {
  switch (value) {
    case v1::ENTRY_TYPE_UNSPECIFIED:
      return std::nullopt;
    case v1::ENTRY_TYPE_BF16:
      return EntryType::kBf16;
    case v1::ENTRY_TYPE_F32:
      return EntryType::kF32;
    case v1::ENTRY_TYPE_INT8:
      return EntryType::kInt8;
    case v1::ENTRY_TYPE_PACKED:
      return EntryType::kPacked;
    default:
      return FieldError("policy.entry_type", "unknown value");
  }
}

absl::StatusOr<TurnFold> ParseTurnFold(v1::TurnFold value) {
  switch (value) {
    case v1::TURN_FOLD_UNSPECIFIED:
    case v1::TURN_FOLD_REFOLD:
      return TurnFold::kRefold;
    case v1::TURN_FOLD_ISOLATE:
      return TurnFold::kIsolate;
    case v1::TURN_FOLD_FAIR:
      return TurnFold::kFair;
    default:
      return FieldError("policy.turn_fold", "unknown value");
  }
}

// An option the policy would ignore is refused: the caller believes that it acts.
absl::Status CheckPolicyOptions(const v1::CachePolicy& policy, std::string_view name) {
  const auto names = PolicyNames();
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    return FieldError("policy.name", "unknown policy");
  }
  if (name != kElastic && policy.pure_sink()) {
    return FieldError("policy.pure_sink", "only policy \"elastic\" has it");
  }
  if (name != kConcertina && policy.adaptive_heads()) {
    return FieldError("policy.adaptive_heads", "only policy \"concertina\" has it");
  }
  if (name != kElastic && policy.merge() != v1::MERGE_MODE_UNSPECIFIED) {
    return FieldError("policy.merge", "only policy \"elastic\" has it");
  }
  if (name != kConcertinaHq && policy.repeat_when_idle()) {
    return FieldError("policy.repeat_when_idle", "only policy \"concertina-hq\" has it");
  }
  return absl::OkStatus();
}

bool PositionsByLength(std::string_view name) {
  const auto policy = MakePolicy(name);
  return policy.ok() && (*policy)->positions_by_length();
}

bool FollowsTurnRules(std::string_view name) {
  const auto policy = MakePolicy(name);
  return !policy.ok() || (*policy)->follows_turn_rules();
}

absl::Status ParsePolicy(const v1::CachePolicy& policy, std::string_view default_policy,
                         CacheOptions* options) {
  const std::string_view name =
      policy.name().empty() ? default_policy : std::string_view(policy.name());
  if (auto status = CheckPolicyOptions(policy, name); !status.ok()) return status;
  const auto merge = ParseMerge(policy.merge());
  if (!merge.ok()) return merge.status();
  const auto on_context_end = ParseOnContextEnd(policy.on_context_end());
  if (!on_context_end.ok()) return on_context_end.status();
  if (*on_context_end == OnContextEnd::kRebase && PositionsByLength(name)) {
    return FieldError("policy.on_context_end", "this policy cannot move positions");
  }
  const auto turn_fold = ParseTurnFold(policy.turn_fold());
  if (!turn_fold.ok()) return turn_fold.status();
  if (*turn_fold != TurnFold::kRefold && !FollowsTurnRules(name)) {
    return FieldError("policy.turn_fold", "this policy folds all turns together");
  }
  if (*turn_fold != TurnFold::kRefold && policy.adaptive_heads()) {
    return FieldError("policy.adaptive_heads", "only where all turns are folded together");
  }
  if (policy.pin_system_prompt() && !FollowsTurnRules(name)) {
    return FieldError("policy.pin_system_prompt", "this policy pins nothing");
  }
  const auto entry_type = ParseEntryType(policy.entry_type());
  if (!entry_type.ok()) return entry_type.status();
  options->policy = policy.name();
  options->policy_options.merge = *merge;
  options->policy_options.pure_sink = policy.pure_sink();
  options->policy_options.adaptive_heads = policy.adaptive_heads();
  options->policy_options.repeat_when_idle = policy.repeat_when_idle();
  options->on_context_end = *on_context_end;
  options->entry_type = *entry_type;
  options->turn_fold = *turn_fold;
  options->pin_system_prompt = policy.pin_system_prompt();
  // The engine, which has the defaults of some, checks these (actions/sessions.cpp).
  if (policy.has_image_budget()) options->image_budget = policy.image_budget();
  options->merge_images = policy.merge_images();
  if (policy.has_probe_tokens()) options->probe_tokens = policy.probe_tokens();
  options->min_quality = policy.min_quality();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Budget> ParseBudget(const v1::Budget& budget) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  switch (budget.unit_case()) {
    case v1::Budget::kRatio:
      // Written so that NaN fails.
      if (!(budget.ratio() > 0.0 && budget.ratio() <= 1.0)) {
        return FieldError("budget.ratio", "must be in (0, 1]");
      }
      return Budget::Ratio(budget.ratio());
    case v1::Budget::kTokens:
      if (auto s = CheckRange("budget.tokens", budget.tokens(), 1, kMax); !s.ok()) return s;
      return Budget::Tokens(budget.tokens());
    case v1::Budget::kBytes:
      if (auto s = CheckRange("budget.bytes", budget.bytes(), 1, kMax); !s.ok()) return s;
      return Budget::Bytes(budget.bytes());
    case v1::Budget::UNIT_NOT_SET:
      break;
  }
  return FieldError("budget", "one of ratio, tokens and bytes must be set");
}

absl::StatusOr<CacheOptions> ParseCacheOptions(const v1::CachePolicy* policy,
                                               const v1::Budget* budget,
                                               std::string_view default_policy) {
  CacheOptions options;
  if (policy != nullptr) {
    if (auto status = ParsePolicy(*policy, default_policy, &options); !status.ok()) return status;
  }
  if (budget != nullptr) {
    auto parsed = ParseBudget(*budget);
    if (!parsed.ok()) return parsed.status();
    options.budget = *parsed;
  }
  return options;
}

}  // namespace concertina
