#include "server/engine/actions/finish.h"

#include <algorithm>

#include "server/engine/actions/prompt.h"

namespace concertina {
namespace {

std::string_view EndReason(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kCancelled:
      return "cancelled";
    case absl::StatusCode::kDeadlineExceeded:
      return "deadline";
    default:
      return "error";
  }
}

void FillTimings(Task& task) {
  task.timings.decode = task.last_token - task.first_token;
  const double seconds = std::chrono::duration<double>(task.timings.decode).count();
  if (task.generated > 1 && seconds > 0) {
    task.timings.tokens_per_second = static_cast<double>(task.generated - 1) / seconds;
  }
}

// Brings the cache to a state the next turn can start from. A half-folded prompt leaves layers that
// disagree, one given up before that perhaps positions that were changed for it, one given up in
// its probe entries of tokens nobody remembers, an unfinished rebuild part of the conversation; the
// transcript has all of it.
void SettleCache(const Task& task) {
  EngineSession& session = *task.session;
  session.cache->EndDecode();
  if (session.cache->intact() && !session.needs_rebuild && !task.unsettled) return;
  session.cache->Clear();
  session.cache->SetBudget(session.budget_in_force())
      .IgnoreError();  // a replay may have set an older one
  session.needs_rebuild = !session.transcript.empty();
}

void KeepDelivered(Task& task) {
  if (task.kind != Task::Kind::kTurn || task.next_token < 0) return;
  task.session->unfed = {task.next_token};
  task.next_token = -1;
}

void ReportTurnEnd(EngineState& state, const Task& task, std::string_view reason) {
  const CacheSnapshot cache = SnapshotOf(*task.session->cache);
  const double share = cache.full_bytes > 0 ? static_cast<double>(cache.used_bytes) /
                                                  static_cast<double>(cache.full_bytes)
                                            : 0;
  state.observer->OnTurnEnd(reason, task.timings, task.generated, share);
}

void ReleaseSession(EngineState& state, Task& task) {
  EngineSession& session = *task.session;
  session.busy = false;
  session.last_used = state.clock->WallNow();
  session.last_active = state.Now();
  // Down to what it uses: lowering a reservation cannot fail.
  session.cache->Reserve(0).IgnoreError();
  task.session = nullptr;
  if (session.close_when_idle) {
    state.sessions.erase(session.id);
    state.observer->OnSessionClosed("closed");
  }
}

void MeasureTurn(EngineState& state, const Task& task) {
  constexpr double kWeight = 0.1;
  if (task.started == Task::TimePoint{}) return;
  const double seconds = std::chrono::duration<double>(state.Now() - task.started).count();
  state.turn_seconds += kWeight * (seconds - state.turn_seconds);
}

// Last of all: lets go of the session and tells whoever waits for the task.
void Release(EngineState& state, Task& task, const absl::Status& status) {
  MeasureTurn(state, task);
  ReleaseSession(state, task);
  task.phase = Task::Phase::kDone;
  state.task_ended = true;
  if (task.sink) task.sink->OnFinished(status);
  if (task.on_ended) task.on_ended(status);
}

}  // namespace

void CompleteTurn(EngineState& state, Task& task, FinishReason reason) {
  static constexpr std::string_view kNames[] = {"stop", "length", "stop_string"};
  FillTimings(task);
  KeepDelivered(task);
  SettleCache(task);
  ++task.session->turns;
  ReportTurnEnd(state, task, kNames[static_cast<int>(reason)]);
  CompletedEvent event{.finish_reason = reason,
                       .prompt_tokens = task.prompt_tokens,
                       .image_tokens = task.image_tokens,
                       .carried_tokens = task.carried_tokens,
                       .generated_tokens = task.generated,
                       .cache = SnapshotOf(*task.session),
                       .timings = task.timings,
                       .turn = task.session->turns,
                       .quality = task.quality};
  task.sink->OnEvent(event);
  Release(state, task, absl::OkStatus());
}

void RefuseTask(EngineState& state, Task& task, const absl::Status& status) {
  Release(state, task, status);
}

void EndTask(EngineState& state, Task& task, const absl::Status& status) {
  AbandonPrompt(state, task);
  if (task.kind == Task::Kind::kTurn) {
    FillTimings(task);
    KeepDelivered(task);
    if (task.generated > 0) ++task.session->turns;
  }
  SettleCache(task);
  if (task.kind == Task::Kind::kTurn) ReportTurnEnd(state, task, EndReason(status));
  Release(state, task, status);
}

void NextSegment(EngineState& state, Task& task) {
  if (task.replayed_segments > 0 && --task.replayed_segments == 0) {
    task.session->needs_rebuild = false;
    task.carried_tokens = task.session->cache->seen();
  }
  if (task.kind == Task::Kind::kReplay) ++task.session->turns;
  task.segments.pop_front();
  if (task.segments.empty()) return EndTask(state, task, absl::OkStatus());
  task.answer_fed = 0;
  task.phase = Task::Phase::kPrefill;
}

void SweepTasks(EngineState& state) {
  std::erase_if(state.running, [](const auto& task) { return task->phase == Task::Phase::kDone; });
  std::erase_if(state.waiting, [](const auto& task) { return task->phase == Task::Phase::kDone; });
}

}  // namespace concertina
