#include "server/engine/actions/admit.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/actions/budget.h"
#include "server/engine/actions/context.h"
#include "server/engine/actions/eviction.h"
#include "server/engine/actions/finish.h"
#include "server/engine/actions/pins.h"
#include "server/engine/errors.h"

namespace concertina {
namespace {

// The turn's own prompt: what was delivered but not fed, then the template's next part.
absl::StatusOr<Segment> TurnPrompt(const EngineState& state, const Task& task) {
  const EngineSession& session = *task.session;
  if (session.transcript.empty()) {
    return FirstPrompt(*state.model, session.system_prompt, task.params.parts,
                       session.pin_system_prompt);
  }
  auto segment = NextPrompt(*state.model, task.params.parts);
  if (!segment.ok() || session.unfed.empty()) return segment;
  segment->carried = static_cast<int32_t>(session.unfed.size());
  segment->prompt.insert(segment->prompt.begin(), session.unfed.begin(), session.unfed.end());
  for (auto& span : segment->image_spans) span.first += segment->carried;
  for (TokenSpan& pin : segment->pins) pin.first += segment->carried;
  return segment;
}

// Everything that was said so far comes before the turn's own prompt.
void PrependTranscript(EngineState& state, Task& task) {
  const auto& transcript = task.session->transcript;
  task.segments.insert(task.segments.begin(), transcript.begin(), transcript.end());
  task.replayed_segments = transcript.size();
  task.session->adapter = false;
  state.observer->OnRebuild();
}

// Once, however long the task waits afterwards.
absl::Status PrepareTurn(EngineState& state, Task& task) {
  if (task.prepared) return absl::OkStatus();
  auto segment = TurnPrompt(state, task);
  if (!segment.ok()) return segment.status();
  task.prompt_tokens = static_cast<int64_t>(segment->prompt.size());
  task.image_tokens = static_cast<int64_t>(segment->images.size()) * state.model->image_tokens;
  task.carried_tokens = task.session->cache->seen();
  task.sampler.emplace(task.params.sampling);
  task.sampler->Observe(segment->prompt);
  task.detokenizer.emplace(*state.model->tokenizer);
  task.stops.emplace(task.params.stop);
  task.segments.push_back(*std::move(segment));
  if (task.session->needs_rebuild) PrependTranscript(state, task);
  if (absl::Status status = CheckContext(state, task); !status.ok()) return status;
  if (absl::Status status = CheckPins(*task.session, &task, task.session->budget); !status.ok()) {
    return status;
  }
  task.segments.back().room = task.prompt_tokens + task.max_tokens;
  task.prepared = true;
  return absl::OkStatus();
}

absl::Status Prepare(EngineState& state, Task& task) {
  if (task.kind == Task::Kind::kTurn) return PrepareTurn(state, task);
  if (absl::Status status = CheckContext(state, task); !status.ok()) return status;
  return CheckPins(*task.session, &task, task.session->budget);
}

// True when the pool promises what the task may need, false when it must wait for others.
absl::StatusOr<bool> ReservePages(EngineState& state, Task& task) {
  const int64_t bound = CacheBound(task);
  if (bound > state.pool->capacity_bytes()) {
    return ReasonError(absl::StatusCode::kFailedPrecondition, reason::kBudgetTooSmall,
                       absl::StrCat("the turn may need ", bound, " bytes of cache, the pool has ",
                                    state.pool->capacity_bytes(), " in all"));
  }
  if (ReserveForTurn(state, *task.session, bound)) return true;
  if (!state.running.empty() || task.replayed_segments > 0) return false;
  // Nothing runs whose end could make room: what this session shares with forks is in its own way.
  EvictCache(state, *task.session, "pool");
  if (task.kind == Task::Kind::kTurn && task.session->needs_rebuild) PrependTranscript(state, task);
  return ReserveForTurn(state, *task.session, CacheBound(task));
}

absl::StatusOr<bool> Admit(EngineState& state, Task& task) {
  if (absl::Status status = Prepare(state, task); !status.ok()) return status;
  return ReservePages(state, task);
}

void Start(EngineState& state, Task& task) {
  task.phase = Task::Phase::kPrefill;
  task.started = state.Now();
  task.timings.queue = task.started - task.arrival;
  if (task.sink) {
    task.sink->OnEvent(StartedEvent{task.timings.queue, task.session->turns + 1});
  }
}

absl::Status Overdue(const EngineState& state, const Task& task) {
  if (state.blocked_on_pool && &task == state.waiting.front().get()) {
    return RetryLater(reason::kPoolExhausted,
                      absl::StrCat("the pool could not promise the turn's cache in time; ",
                                   state.pool->reserved_bytes(), " of ",
                                   state.pool->capacity_bytes(), " bytes are promised to others"),
                      state.RetryAfterMs());
  }
  return RetryLater(reason::kQueueTimeout, "no place became free in time", state.RetryAfterMs());
}

void RefuseOverdue(EngineState& state) {
  const auto now = state.Now();
  for (const auto& task : state.waiting) {
    if (now - task->queued < state.options.max_queue_wait) continue;
    RefuseTask(state, *task, Overdue(state, *task));
  }
  SweepTasks(state);
}

}  // namespace

void AdmitWaiting(EngineState& state) {
  RefuseOverdue(state);
  state.blocked_on_pool = false;
  while (!state.waiting.empty() &&
         static_cast<int32_t>(state.running.size()) < state.options.max_batch) {
    const auto admitted = Admit(state, *state.waiting.front());
    // First come, first served: nobody overtakes a turn that needs much.
    state.blocked_on_pool = admitted.ok() && !*admitted;
    if (state.blocked_on_pool) return;
    std::unique_ptr<Task> task = std::move(state.waiting.front());
    state.waiting.pop_front();
    if (admitted.ok()) {
      Start(state, *task);
      state.running.push_back(std::move(task));
    } else {
      RefuseTask(state, *task, admitted.status());
    }
  }
}

}  // namespace concertina
