#include "server/engine/tasks.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/actions/finish.h"
#include "server/engine/actions/pins.h"
#include "server/engine/actions/sessions.h"
#include "server/engine/errors.h"

namespace concertina {
namespace {

absl::Status MayQueue(const EngineState& state) {
  if (state.draining) {
    return ReasonError(absl::StatusCode::kUnavailable, reason::kDraining, "the server is draining");
  }
  if (static_cast<int32_t>(state.waiting.size()) >= state.options.max_queued_turns) {
    return RetryLater(reason::kQueueFull,
                      absl::StrCat(state.waiting.size(), " requests are waiting already"),
                      state.RetryAfterMs());
  }
  return absl::OkStatus();
}

absl::Status CheckTranscripts(const EngineState& state, const EngineSession& session) {
  const EngineOptions& options = state.options;
  if (session.transcript_bytes() >= options.max_session_transcript_bytes) {
    return ReasonError(absl::StatusCode::kFailedPrecondition, reason::kTranscriptLimit,
                       "the conversation has reached its limit of remembered tokens and pictures");
  }
  int64_t bytes = 0;
  for (const auto& [id, other] : state.sessions) bytes += other->transcript_bytes();
  if (bytes < options.max_transcript_bytes) return absl::OkStatus();
  return RetryLater(reason::kTranscriptLimit, "the server remembers as much as it may",
                    state.RetryAfterMs());
}

absl::Status CheckTurn(const EngineState& state, const EngineSession& session,
                       const GenerateParams& params) {
  if (params.expected_turn && *params.expected_turn != session.turns) {
    return ReasonError(absl::StatusCode::kAborted, reason::kTurnMismatch,
                       absl::StrCat("the session has ", session.turns, " finished turns"));
  }
  if (params.max_tokens > state.options.max_tokens_limit) {
    return FieldError("max_tokens",
                      absl::StrCat("at most ", state.options.max_tokens_limit, " are allowed"));
  }
  if (absl::Status status = CheckTranscripts(state, session); !status.ok()) return status;
  for (size_t i = 0; i < params.parts.size(); ++i) {
    const ContentPart& part = params.parts[i];
    if (part.pin) {
      absl::Status status = CheckMayPin(state, session, absl::StrCat("parts[", i, "].pin"));
      if (!status.ok()) return status;
    }
    if (part.image && !state.model->vision) {
      return ReasonError(absl::StatusCode::kFailedPrecondition, reason::kNoVision,
                         "the model takes no pictures");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<EngineSession*> SessionForTurn(EngineState& state, const GenerateParams& params) {
  if (absl::Status status = MayQueue(state); !status.ok()) return status;
  auto session = FindIdleSession(state, params.session_id);
  if (!session.ok()) return session;
  if (absl::Status status = CheckTurn(state, **session, params); !status.ok()) return status;
  return session;
}

void Enqueue(EngineState& state, EngineSession* session, std::unique_ptr<Task> task) {
  task->session = session;
  task->queued = state.Now();
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
    return task->sink->OnFinished(session.status());
  }
  Enqueue(state, *session, std::move(task));
}

void StartOpening(EngineState& state, const OpenSessionParams& params,
                  const Engine::Done<SessionInfo>& done, std::shared_ptr<Task::Control> control) {
  auto segments = HistorySegments(*state.model, params.system_prompt, params.history,
                                  params.cache.pin_system_prompt);
  if (!segments.ok()) return done(segments.status());
  if (!segments->empty()) {
    if (absl::Status status = MayQueue(state); !status.ok()) return done(status);
  }
  auto session = OpenSession(state, params);
  if (!session.ok()) return done(session.status());
  if (!params.history.empty() && params.history.front().role == HistoryMessage::Role::kSystem) {
    (*session)->system_prompt = TextOf(params.history.front());
  }
  if (segments->empty()) return done(InfoOf(state, **session));
  auto task = std::make_unique<Task>();
  task->kind = Task::Kind::kReplay;
  task->control = std::move(control);
  task->arrival = state.Now();
  task->segments.assign(segments->begin(), segments->end());
  task->on_ended = [&state, id = (*session)->id, done](absl::Status status) {
    auto opened = FindSession(state, id);
    if (status.ok() && opened.ok()) return done(InfoOf(state, **opened));
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
  task->choices = params.choices;
  for (const auto& turn : params.turns) {
    task->segments.push_back({.prompt = turn, .room = static_cast<int64_t>(turn.size())});
  }
  const auto room = static_cast<int64_t>(params.prompt.size() + params.continuation.size());
  task->segments.push_back({.prompt = params.prompt, .room = room});
  task->owned_session = *std::move(session);
  Task* raw = task.get();
  task->on_ended = [raw, done](absl::Status status) {
    if (!status.ok()) return done(status);
    done(ScoreResult{std::move(raw->score_logprobs), std::move(raw->score_argmax),
                     std::move(raw->choice_logprobs), raw->score_cache, raw->folds});
  };
  EngineSession* own = task->owned_session.get();
  Enqueue(state, own, std::move(task));
}

void StartDraining(EngineState& state) {
  state.draining = true;
  const absl::Status status = MayQueue(state);
  for (const auto& task : state.waiting) RefuseTask(state, *task, status);
  SweepTasks(state);
}

}  // namespace concertina
