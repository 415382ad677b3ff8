#include "server/engine/actions/budget.h"

#include <algorithm>
#include <string>

#include "server/engine/actions/eviction.h"
#include "server/engine/actions/pins.h"
#include "server/engine/actions/sessions.h"
#include "server/engine/actions/traits.h"
#include "server/engine/errors.h"

namespace concertina {
namespace {

bool Same(const Budget& a, const Budget& b) {
  return a.unit == b.unit && a.ratio == b.ratio && a.tokens == b.tokens && a.bytes == b.bytes;
}

// The budget was valid when the session took it.
void Set(ConversationCache& cache, const Budget& budget) { cache.SetBudget(budget).IgnoreError(); }

// The segment an answer token is recorded in.
Segment& Recording(Task& task) {
  const bool in_transcript = task.kind != Task::Kind::kScore && !task.session->transcript.empty();
  return in_transcript ? task.session->transcript.back() : task.segments.front();
}

}  // namespace

void UseBudgetForPrompt(Task& task) {
  Segment& segment = task.segments.front();
  if (task.replayed_segments == 0) segment.budget = task.session->budget_in_force();
  Set(*task.session->cache, segment.budget);
}

void UseBudgetForToken(Task& task) {
  ConversationCache& cache = *task.session->cache;
  if (task.replayed_segments > 0) {
    for (const auto& change : task.segments.front().budget_changes) {
      if (change.answer_index == task.answer_fed) Set(cache, change.budget);
    }
    return;
  }
  const Budget& budget = task.session->budget_in_force();
  if (Same(cache.budget(), budget)) return;
  Set(cache, budget);
  Segment& segment = Recording(task);
  segment.budget_changes.push_back({segment.answer.size(), budget});
}

int64_t CacheBound(Task& task) {
  ConversationCache& cache = *task.session->cache;
  const Budget present = cache.budget();
  int64_t tokens = 0, bound = 0;
  const auto raise = [&](const Budget& budget, int64_t more) {
    Set(cache, budget);
    bound = std::max(bound, cache.UsedBytesBound(more));
  };
  for (size_t i = 0; i < task.replayed_segments; ++i) {
    const Segment& segment = task.segments[i];
    tokens += segment.tokens();
    raise(segment.budget, tokens);
    for (const auto& change : segment.budget_changes) raise(change.budget, tokens);
  }
  raise(task.session->budget_in_force(), task.known_tokens() + task.max_tokens);
  Set(cache, present);
  return bound;
}

absl::Status ChangeBudget(EngineState& state, EngineSession& session, const Budget& budget,
                          std::optional<int32_t> turns) {
  if (absl::Status status = ValidateBudget(budget); !status.ok()) {
    return FieldError("budget", std::string(status.message()));
  }
  if (absl::Status status = CheckBudgetTraits(state.runner->traits(), budget); !status.ok())
    return status;
  Task* task = TaskOf(state, session);
  if (absl::Status status = CheckPins(session, task, budget, turns); !status.ok()) return status;
  const Budget before = session.budget;
  const std::optional<Budget> raised_before = session.raised_budget;
  session.budget = budget;
  session.raised_budget.reset();
  if (!task) return session.cache->SetBudget(budget);
  if (task->phase == Task::Phase::kWaiting) return absl::OkStatus();
  // It was admitted for the old budget: more needs more pages promised.
  const int64_t bound = CacheBound(*task);
  if (bound > session.cache->reserved_bytes() && !ReserveForTurn(state, session, bound)) {
    session.budget = before;
    session.raised_budget = raised_before;
    return RetryLater(reason::kPoolExhausted, "the pool cannot hold this budget now",
                      state.RetryAfterMs());
  }
  if (task->phase == Task::Phase::kDecode) UseBudgetForToken(*task);
  return absl::OkStatus();
}

}  // namespace concertina
