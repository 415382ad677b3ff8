#include "server/engine/tasks.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/actions/sessions.h"
#include "server/engine/errors.h"

namespace concertina {
namespace {

constexpr int64_t kRetryAfterMs = 1000;

absl::Status MayQueue(const EngineState& state) {
  if (state.draining) {
    return ReasonError(absl::StatusCode::kUnavailable, reason::kDraining, "the server is draining");
  }
  if (static_cast<int32_t>(state.waiting.size()) >= state.options.max_queued_turns) {
    return RetryLater(reason::kQueueFull,
                      absl::StrCat(state.waiting.size(), " requests are waiting already"),
                      kRetryAfterMs);
  }
  return absl::OkStatus();
}

absl::Status CheckTurn(const EngineState& state, const EngineSession& session,
                       const GenerateParams& params) {
  if (session.busy) {
    return ReasonError(absl::StatusCode::kAborted, reason::kTurnInFlight,
                       "a turn of this session is in flight");
  }
  if (params.expected_turn && *params.expected_turn != session.turns) {
    return ReasonError(absl::StatusCode::kAborted, reason::kTurnMismatch,
                       absl::StrCat("the session has ", session.turns, " finished turns"));
  }
  if (params.max_tokens > state.options.max_tokens_limit) {
    return FieldError("max_tokens",
                      absl::StrCat("at most ", state.options.max_tokens_limit, " are allowed"));
  }
  for (const ContentPart& part : params.parts) {
    if (part.image && !state.model->vision) {
      return ReasonError(absl::StatusCode::kFailedPrecondition, reason::kNoVision,
                         "the model takes no pictures");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<EngineSession*> SessionForTurn(EngineState& state, const GenerateParams& params) {
  if (absl::Status status = MayQueue(state); !status.ok()) return status;
  auto session = FindSession(state, params.session_id);
  if (!session.ok()) return session;
  if (absl::Status status = CheckTurn(state, **session, params); !status.ok()) return status;
  return session;
}

void Enqueue(EngineState& state, EngineSession* session, std::unique_ptr<Task> task) {
  task->session = session;
  session->busy = true;
  state.waiting.push_back(std::move(task));
}

}  // namespace

std::unique_ptr<Task> MakeTurn(GenerateParams params, std::shared_ptr<TurnSink> sink) {
  auto task = std::make_unique<Task>();
  task->arrival = params.arrival;
  task->timings.vision = params.image_time;
  task->params = std::move(params);
  task->sink = std::move(sink);
  return task;
}

void StartTurn(EngineState& state, std::unique_ptr<Task> task) {
  auto session = SessionForTurn(state, task->params);
  if (!session.ok()) {
    const std::string why = ReasonOf(session.status());
    state.observer->OnRejected(why.empty() ? "INVALID" : why);
    return task->sink->OnFinished(session.status());
  }
  Enqueue(state, *session, std::move(task));
}

void StartOpening(EngineState& state, const OpenSessionParams& params,
                  const Engine::Done<SessionInfo>& done) {
  auto segments = HistorySegments(*state.model, params.system_prompt, params.history);
  if (!segments.ok()) return done(segments.status());
  if (!segments->empty()) {
    if (absl::Status status = MayQueue(state); !status.ok()) return done(status);
  }
  auto session = OpenSession(state, params);
  if (!session.ok()) return done(session.status());
  if (segments->empty()) {
    if (!params.history.empty()) {  // a system message alone
      (*session)->system_prompt = params.history.front().parts.front().text;
    }
    return done(InfoOf(**session));
  }
  auto task = std::make_unique<Task>();
  task->kind = Task::Kind::kReplay;
  task->arrival = state.Now();
  task->segments.assign(segments->begin(), segments->end());
  task->on_ended = [&state, id = (*session)->id, done](absl::Status status) {
    auto opened = FindSession(state, id);
    if (status.ok() && opened.ok()) return done(InfoOf(**opened));
    state.sessions.erase(id);  // half a history is no session
    done(status.ok() ? opened.status() : status);
  };
  Enqueue(state, *session, std::move(task));
}

void StartScore(EngineState& state, const ScoreParams& params,
                const Engine::Done<ScoreResult>& done, std::shared_ptr<Task::Control> control) {
  if (absl::Status status = MayQueue(state); !status.ok()) return done(status);
  auto session = MakeSession(state, params.cache);
  if (!session.ok()) return done(session.status());
  auto task = std::make_unique<Task>();
  task->kind = Task::Kind::kScore;
  task->arrival = state.Now();
  task->control = std::move(control);
  task->fold_in_decode = params.fold_in_decode;
  task->continuation = params.continuation;
  const auto room = static_cast<int64_t>(params.prompt.size() + params.continuation.size());
  task->segments.push_back({.prompt = params.prompt, .room = room});
  task->owned_session = *std::move(session);
  Task* raw = task.get();
  task->on_ended = [raw, done](absl::Status status) {
    if (!status.ok()) return done(status);
    done(ScoreResult{std::move(raw->score_logprobs), std::move(raw->score_argmax), raw->score_cache,
                     raw->folds});
  };
  EngineSession* own = task->owned_session.get();
  Enqueue(state, own, std::move(task));
}

absl::StatusOr<SessionInfo> ChangeBudget(EngineState& state, const std::string& id,
                                         const Budget& budget) {
  auto session = FindSession(state, id);
  if (!session.ok()) return session.status();
  SessionCache& cache = *(*session)->cache;
  const Budget before = cache.budget();
  if (absl::Status status = cache.SetBudget(budget); !status.ok()) {
    return FieldError("budget", std::string(status.message()));
  }
  // A turn in flight was admitted for the old budget: more needs more pages promised.
  if (const Task* task = TaskOf(state, **session); task && task->phase != Task::Phase::kWaiting) {
    const int64_t bound = cache.UsedBytesBound(task->known_tokens() + task->max_tokens);
    if (bound > cache.reserved_bytes() && !cache.Reserve(bound).ok()) {
      cache.SetBudget(before).IgnoreError();
      return RetryLater(reason::kPoolExhausted, "the pool cannot hold this budget now",
                        kRetryAfterMs);
    }
  }
  return InfoOf(**session);
}

}  // namespace concertina
