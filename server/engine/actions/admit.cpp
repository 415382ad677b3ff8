#include "server/engine/actions/admit.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/actions/context.h"
#include "server/engine/actions/finish.h"
#include "server/engine/errors.h"

namespace concertina {
namespace {

constexpr int64_t kRetryAfterMs = 500;

// The turn's own prompt: what was delivered but not fed, then the template's next part.
absl::StatusOr<Segment> TurnPrompt(const EngineState& state, const Task& task) {
  const EngineSession& session = *task.session;
  if (session.transcript.empty()) {
    return FirstPrompt(*state.model, session.system_prompt, task.params.parts);
  }
  auto segment = NextPrompt(*state.model, task.params.parts);
  if (!segment.ok() || session.unfed.empty()) return segment;
  const auto shift = static_cast<int32_t>(session.unfed.size());
  segment->prompt.insert(segment->prompt.begin(), session.unfed.begin(), session.unfed.end());
  for (auto& span : segment->image_spans) span.first += shift;
  return segment;
}

absl::Status PrepareTurn(EngineState& state, Task& task) {
  auto segment = TurnPrompt(state, task);
  if (!segment.ok()) return segment.status();
  task.prompt_tokens = static_cast<int64_t>(segment->prompt.size());
  task.image_tokens = static_cast<int64_t>(segment->images.size()) * state.model->image_tokens;
  task.carried_tokens = task.session->cache->seen();
  task.sampler.emplace(task.params.sampling);
  task.sampler->Observe(segment->prompt);
  task.detokenizer.emplace(*state.model->tokenizer);
  task.stops.emplace(task.params.stop);
  if (task.session->needs_rebuild) {
    const auto& transcript = task.session->transcript;
    task.segments.assign(transcript.begin(), transcript.end());
    task.replayed_segments = transcript.size();
    task.session->adapter = false;
    state.observer->OnRebuild();
  }
  task.segments.push_back(*std::move(segment));
  return absl::OkStatus();
}

absl::Status ReservePages(EngineState& state, Task& task) {
  SessionCache& cache = *task.session->cache;
  const int64_t bound = cache.UsedBytesBound(task.known_tokens() + task.max_tokens);
  if (bound > state.pool->capacity_bytes()) {
    return ReasonError(absl::StatusCode::kFailedPrecondition, reason::kBudgetTooSmall,
                       absl::StrCat("the turn may need ", bound, " bytes of cache, the pool has ",
                                    state.pool->capacity_bytes(), " in all"));
  }
  if (cache.Reserve(bound).ok()) return absl::OkStatus();
  return RetryLater(reason::kPoolExhausted,
                    absl::StrCat("the turn may need ", bound, " bytes of cache; ",
                                 state.pool->capacity_bytes() - state.pool->reserved_bytes() +
                                     cache.reserved_bytes(),
                                 " are free"),
                    kRetryAfterMs);
}

absl::Status Admit(EngineState& state, Task& task) {
  if (task.kind == Task::Kind::kTurn) {
    if (absl::Status status = PrepareTurn(state, task); !status.ok()) return status;
  }
  if (absl::Status status = CheckContext(state, task); !status.ok()) return status;
  if (task.kind == Task::Kind::kTurn) {
    task.segments.back().room = task.prompt_tokens + task.max_tokens;
  }
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

}  // namespace

void AdmitWaiting(EngineState& state) {
  while (!state.waiting.empty() &&
         static_cast<int32_t>(state.running.size()) < state.options.max_batch) {
    std::unique_ptr<Task> task = std::move(state.waiting.front());
    state.waiting.pop_front();
    if (absl::Status status = Admit(state, *task); !status.ok()) {
      RefuseTask(state, *task, status);
      continue;
    }
    Start(state, *task);
    state.running.push_back(std::move(task));
  }
}

}  // namespace concertina
