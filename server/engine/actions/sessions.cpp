#include "server/engine/actions/sessions.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/actions/eviction.h"
#include "server/engine/actions/finish.h"
#include "server/engine/actions/pins.h"
#include "server/engine/actions/refine.h"
#include "server/engine/actions/traits.h"
#include "server/engine/errors.h"
#include "server/engine/session_id.h"

namespace concertina {
namespace {

absl::Status PolicyError(const absl::Status& status) {
  const std::string message(status.message());
  if (absl::IsFailedPrecondition(status)) return FieldError("policy.entry_type", message);
  return absl::IsUnimplemented(status) ? FieldError("policy.name", reason::kNotOnDevice, message)
                                       : FieldError("policy.name", message);
}

absl::Status CheckQuality(const QualityOptions& quality) {
  if (quality.probe_tokens < 0 || quality.probe_tokens > kProbeTokensMax) {
    return FieldError("policy.probe_tokens", absl::StrCat("must be 0 to ", kProbeTokensMax));
  }
  // Written so that NaN fails.
  if (!(quality.min_quality >= 0 && quality.min_quality <= 1)) {
    return FieldError("policy.min_quality", "must be in (0, 1], or 0 for none");
  }
  if (quality.min_quality > 0 && quality.probe_tokens == 0) {
    return FieldError("policy.probe_tokens", "min_quality is measured by a probe");
  }
  return absl::OkStatus();
}

absl::StatusOr<QualityOptions> QualityFor(const EngineState& state, const CacheOptions& options) {
  QualityOptions quality{.probe_tokens = state.options.default_probe_tokens,
                         .min_quality = options.min_quality};
  if (quality.min_quality > 0 && quality.probe_tokens == 0) {
    quality.probe_tokens = kProbeTokensDefault;
  }
  if (options.probe_tokens) quality.probe_tokens = *options.probe_tokens;
  if (absl::Status status = CheckQuality(quality); !status.ok()) return status;
  if (absl::Status status = CheckProbeTraits(state.runner->traits(), quality); !status.ok()) {
    return status;
  }
  return quality;
}

// Why pictures cannot have a budget of their own; empty: they can.
std::string_view WithoutImageBudget(const CacheSpec& spec) {
  const auto policy = MakePolicy(spec.policy, spec.policy_options);
  if (!policy.ok()) return {};  // not this field's fault
  if ((*policy)->keeps_everything()) return "this policy drops nothing";
  if ((*policy)->splits_heads()) return "heads that differ in length share no picture's budget";
  if (!(*policy)->follows_turn_rules()) return "this policy chooses among all entries alike";
  if (spec.entry_type == EntryType::kPacked) return "packed entries are all chosen alike";
  if (spec.turn_fold != TurnFold::kRefold) return "only refolded turns have one";
  return {};
}

bool MergesItself(const CacheSpec& spec) {
  const auto policy = MakePolicy(spec.policy, spec.policy_options);
  return policy.ok() && (*policy)->merges();
}

absl::StatusOr<ImageFold> ImagesFor(const EngineState& state, const CacheOptions& options,
                                    const CacheSpec& spec) {
  ImageFold images{.share = options.image_budget.value_or(state.options.default_image_budget),
                   .merge = options.merge_images};
  // Written so that NaN fails.
  if (!(images.share >= 0 && images.share <= 1)) {
    return FieldError("policy.image_budget", "must be in (0, 1], or 0 for none");
  }
  const std::string_view without = WithoutImageBudget(spec);
  if (images.share > 0 && !without.empty()) {
    if (options.image_budget) return FieldError("policy.image_budget", without);
    images.share = 0;  // the default is for those that can have one
  }
  if (images.merge && images.share == 0) {
    return FieldError("policy.merge_images", "pictures have no budget of their own");
  }
  if (images.merge && MergesItself(spec)) {
    return FieldError("policy.merge_images", "this policy merges by itself");
  }
  return images;
}

absl::Status MayOpen(const EngineState& state, const std::string& id) {
  if (state.draining) {
    return ReasonError(absl::StatusCode::kUnavailable, reason::kDraining, "the server is draining");
  }
  if (state.sessions.contains(id)) {
    return ReasonError(absl::StatusCode::kAlreadyExists, reason::kSessionExists,
                       "a session with this id is open");
  }
  if (static_cast<int32_t>(state.sessions.size()) >= state.options.max_sessions) {
    return RetryLater(reason::kSessionLimit,
                      absl::StrCat("the server holds ", state.sessions.size(), " sessions already"),
                      state.RetryAfterMs());
  }
  return absl::OkStatus();
}

absl::Status MayPin(const EngineState& state, const EngineSession& session,
                    const OpenSessionParams& params) {
  if (params.cache.pin_system_prompt) {
    absl::Status status = CheckMayPin(state, session, "policy.pin_system_prompt");
    if (!status.ok()) return status;
  }
  for (size_t i = 0; i < params.history.size(); ++i) {
    for (size_t j = 0; j < params.history[i].parts.size(); ++j) {
      if (!params.history[i].parts[j].pin) continue;
      absl::Status status =
          CheckMayPin(state, session, absl::StrCat("history[", i, "].parts[", j, "].pin"));
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

// The smallest cache the session can have must fit: into the pool at all, and beside what running
// turns were promised.
absl::Status HasRoomToOpen(const EngineState& state, const ConversationCache& cache) {
  const int64_t floor = cache.UsedBytesBound(1);
  const PagePool& pool = *state.pool;
  if (floor > pool.capacity_bytes()) {
    return ReasonError(absl::StatusCode::kFailedPrecondition, reason::kBudgetTooSmall,
                       absl::StrCat("a session needs at least ", floor, " bytes, the pool has ",
                                    pool.capacity_bytes(), " in all"));
  }
  const int64_t free = pool.capacity_bytes() - pool.reserved_bytes();
  if (floor <= free + EvictableBytes(state, nullptr)) return absl::OkStatus();
  return RetryLater(reason::kPoolExhausted, "the pool is promised to running turns",
                    state.RetryAfterMs());
}

}  // namespace

absl::StatusOr<std::unique_ptr<EngineSession>> MakeSession(EngineState& state,
                                                           const CacheOptions& options) {
  CacheSpec spec{.policy = options.policy.empty() ? state.options.default_policy : options.policy,
                 .policy_options = options.policy_options,
                 .entry_type = options.entry_type.value_or(state.options.default_entry_type),
                 .budget = options.budget.value_or(state.options.default_budget),
                 .on_context_end = options.on_context_end,
                 .turn_fold = options.turn_fold};
  if (absl::Status status = ValidateBudget(spec.budget); !status.ok()) {
    return FieldError("budget", std::string(status.message()));
  }
  const auto images = ImagesFor(state, options, spec);
  if (!images.ok()) return images.status();
  spec.images = *images;
  if (absl::Status status = CheckTraits(state.runner->traits(), spec); !status.ok()) return status;
  const auto quality = QualityFor(state, options);
  if (!quality.ok()) return quality.status();
  auto cache = state.runner->MakeCache(spec);
  if (!cache.ok()) return PolicyError(cache.status());
  auto session = std::make_unique<EngineSession>();
  session->policy = spec.policy;
  session->policy_options = spec.policy_options;
  session->on_context_end = (*cache)->on_context_end();
  session->entry_type = spec.entry_type;
  session->turn_fold = spec.turn_fold;
  session->pin_system_prompt = options.pin_system_prompt;
  session->images = spec.images;
  session->cache = *std::move(cache);
  session->budget = spec.budget;
  session->quality = *quality;
  session->created = session->last_used = state.clock->WallNow();
  session->last_active = state.Now();
  return session;
}

absl::StatusOr<EngineSession*> OpenSession(EngineState& state, const OpenSessionParams& params) {
  const std::string id = params.session_id.empty() ? NewSessionId() : params.session_id;
  if (absl::Status status = MayOpen(state, id); !status.ok()) return status;
  auto session = MakeSession(state, params.cache);
  if (!session.ok()) return session.status();
  if (absl::Status status = MayPin(state, **session, params); !status.ok()) return status;
  GiveUpRefining(state);  // it takes no room from anybody
  if (absl::Status status = HasRoomToOpen(state, *(*session)->cache); !status.ok()) {
    return status;
  }
  (*session)->id = id;
  (*session)->system_prompt = params.system_prompt;
  return (state.sessions[id] = *std::move(session)).get();
}

absl::StatusOr<EngineSession*> ForkSession(EngineState& state, const std::string& id,
                                           const std::string& new_id) {
  if (absl::Status status = CheckForks(state.runner->traits()); !status.ok()) return status;
  const std::string copy_id = new_id.empty() ? NewSessionId() : new_id;
  auto parent = FindIdleSession(state, id);
  if (!parent.ok()) return parent.status();
  if (absl::Status status = MayOpen(state, copy_id); !status.ok()) return status;
  GiveUpRefining(state);
  auto cache = (*parent)->cache->ForkConversation();
  if (!cache.ok()) return cache.status();
  auto copy = std::make_unique<EngineSession>(EngineSession{
      .id = copy_id,
      .policy = (*parent)->policy,
      .policy_options = (*parent)->policy_options,
      .on_context_end = (*parent)->on_context_end,
      .entry_type = (*parent)->entry_type,
      .turn_fold = (*parent)->turn_fold,
      .system_prompt = (*parent)->system_prompt,
      .pin_system_prompt = (*parent)->pin_system_prompt,
      .images = (*parent)->images,
      .cache = *std::move(cache),
      .budget = (*parent)->budget,
      .raised_budget = (*parent)->raised_budget,
      .quality = (*parent)->quality,
      .transcript = (*parent)->transcript,
      .unfed = (*parent)->unfed,
      .adapter = (*parent)->adapter,
      .needs_rebuild = (*parent)->needs_rebuild,
      .turns = (*parent)->turns,
      .created = state.clock->WallNow(),
      .last_used = state.clock->WallNow(),
      .last_active = state.Now(),
  });
  return (state.sessions[copy_id] = std::move(copy)).get();
}

absl::StatusOr<EngineSession*> FindSession(EngineState& state, const std::string& id) {
  auto found = state.sessions.find(id);
  if (found == state.sessions.end() || found->second->close_when_idle) {
    return ReasonError(absl::StatusCode::kNotFound, reason::kSessionNotFound, "no such session");
  }
  return found->second.get();
}

absl::StatusOr<EngineSession*> FindIdleSession(EngineState& state, const std::string& id) {
  auto session = FindSession(state, id);
  if (!session.ok() || !(*session)->busy) return session;
  return ReasonError(absl::StatusCode::kAborted, reason::kTurnInFlight,
                     "a turn of this session is in flight");
}

Task* TaskOf(EngineState& state, const EngineSession& session) {
  for (const auto& task : state.running) {
    if (task->session == &session) return task.get();
  }
  for (const auto& task : state.waiting) {
    if (task->session == &session) return task.get();
  }
  return nullptr;
}

bool CloseSession(EngineState& state, const std::string& id) {
  auto session = FindSession(state, id);
  if (!session.ok()) return false;
  GiveUpRefining(state);  // it may be this session's
  if (!(*session)->busy) {
    state.sessions.erase(id);
    state.observer->OnSessionClosed("closed");
    return true;
  }
  (*session)->close_when_idle = true;
  if (Task* task = TaskOf(state, **session)) {
    EndTask(state, *task,
            ReasonError(absl::StatusCode::kCancelled, reason::kSessionClosed,
                        "the session was closed"));
    SweepTasks(state);
  }
  return true;
}

}  // namespace concertina
