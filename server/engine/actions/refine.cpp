#include "server/engine/actions/refine.h"

#include <algorithm>
#include <utility>

#include "server/engine/actions/budget.h"
#include "server/engine/actions/finish.h"

namespace concertina {
namespace {

bool MayRefine(const EngineSession& session) {
  return !session.busy && !session.needs_rebuild && session.policy_options.repeat_when_idle &&
         session.repeated_turns() < static_cast<int32_t>(session.transcript.size());
}

// What EngineState::sessions do not list: the same conversation with an empty cache.
absl::StatusOr<std::unique_ptr<EngineSession>> Blank(EngineState& state,
                                                     const EngineSession& session) {
  auto cache = state.runner->MakeCache({.policy = session.policy,
                                        .policy_options = session.policy_options,
                                        .entry_type = session.entry_type,
                                        .budget = session.transcript.front().budget,
                                        .on_context_end = session.on_context_end,
                                        .turn_fold = session.turn_fold,
                                        .images = session.images});
  if (!cache.ok()) return cache.status();
  auto blank = std::make_unique<EngineSession>();
  blank->policy = session.policy;
  blank->policy_options = session.policy_options;
  blank->cache = *std::move(cache);
  blank->budget = session.transcript.back().budget;
  return blank;
}

void TakeOver(EngineState& state, const std::string& id, size_t turns,
              std::unique_ptr<ConversationCache> cache) {
  const auto found = state.sessions.find(id);
  if (found == state.sessions.end()) return;
  EngineSession& session = *found->second;
  if (session.busy || session.needs_rebuild || session.transcript.size() != turns) return;
  session.cache = std::move(cache);
  session.cache->SetBudget(session.budget_in_force()).IgnoreError();
  for (Segment& segment : session.transcript) segment.repeated = true;
}

// False when the pool cannot promise what it may need.
bool Start(EngineState& state, const EngineSession& session) {
  auto blank = Blank(state, session);
  if (!blank.ok()) return false;
  auto task = std::make_unique<Task>();
  task->kind = Task::Kind::kRefine;
  task->owned_session = *std::move(blank);
  task->session = task->owned_session.get();
  task->segments.assign(session.transcript.begin(), session.transcript.end());
  for (Segment& segment : task->segments) segment.repeated = true;
  task->replayed_segments = task->segments.size();
  if (!task->session->cache->Reserve(CacheBound(*task)).ok()) return false;
  task->session->busy = true;
  task->phase = Task::Phase::kPrefill;
  task->on_ended = [&state, id = session.id, turns = session.transcript.size(),
                    own = task->session](const absl::Status& status) {
    if (status.ok()) TakeOver(state, id, turns, std::move(own->cache));
  };
  state.running.push_back(std::move(task));
  return true;
}

}  // namespace

bool RepeatsAtOnce(const Task& task) {
  return task.session->cache->repeats_prompts() && !task.session->policy_options.repeat_when_idle;
}

bool StartRefining(EngineState& state) {
  if (state.draining) return false;
  std::vector<const EngineSession*> candidates;
  for (const auto& [id, session] : state.sessions) {
    if (MayRefine(*session)) candidates.push_back(session.get());
  }
  // In the order in which their turns ended.
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const auto* a, const auto* b) { return a->last_active < b->last_active; });
  return std::any_of(candidates.begin(), candidates.end(),
                     [&](const EngineSession* session) { return Start(state, *session); });
}

void GiveUpRefining(EngineState& state) {
  for (const auto& task : state.running) {
    if (task->kind != Task::Kind::kRefine || task->phase == Task::Phase::kDone) continue;
    EndTask(state, *task, absl::CancelledError("others wait"));
  }
  SweepTasks(state);
}

}  // namespace concertina
