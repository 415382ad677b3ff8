#include "client/conversation.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "client/errors.h"
#include "client/session_state.h"

namespace concertina::client {
namespace {

using Clock = std::chrono::steady_clock;
using Stub = v1::InferenceService::Stub;

constexpr std::chrono::seconds kSettleTime{5};
constexpr std::chrono::milliseconds kSettlePause{20};
// A forgotten conversation must not hold its thread for long.
constexpr std::chrono::milliseconds kCloseInDestructor{2'000};

v1::GenerateRequest MakeRequest(const std::string& id, const std::vector<v1::InputPart>& parts,
                                const AskOptions& options) {
  v1::GenerateRequest request;
  request.set_session_id(id);
  for (const auto& part : parts) *request.add_parts() = part;
  request.set_max_tokens(options.max_tokens);
  *request.mutable_sampling() = options.sampling;
  for (const auto& stop : options.stop) request.add_stop(stop);
  request.set_logprobs(options.logprobs);
  request.set_ignore_eos(options.ignore_eos);
  if (options.expected_turn.has_value()) request.set_expected_turn(*options.expected_turn);
  return request;
}

bool IsTurnInFlight(const absl::Status& status) {
  return DetailsOf(status).reason == "TURN_IN_FLIGHT";
}

// Calls until the turn that was broken off, if any, has ended: the server notices within a step.
template <typename Function>
auto WhenSettled(bool may_be_settling, const Function& call) {
  const auto give_up = Clock::now() + kSettleTime;
  auto result = call();
  while (may_be_settling && IsTurnInFlight(result.status()) && Clock::now() < give_up) {
    std::this_thread::sleep_for(kSettlePause);
    result = call();
  }
  return result;
}

// Adds one event to the answer; false if on_text wants no more.
bool Take(const v1::GenerateResponse& event, const Conversation::OnText& on_text, Answer* answer) {
  if (event.has_folded()) {
    answer->folded = event.folded();
  } else if (event.has_completed()) {
    answer->completed = event.completed();
  } else if (event.has_delta()) {
    const v1::Delta& delta = event.delta();
    answer->text += delta.text();
    answer->token_ids.insert(answer->token_ids.end(), delta.token_ids().begin(),
                             delta.token_ids().end());
    answer->logprobs.insert(answer->logprobs.end(), delta.logprobs().begin(),
                            delta.logprobs().end());
    if (on_text && !delta.text().empty()) return on_text(delta.text());
  }
  return true;
}

}  // namespace

Conversation::Conversation(std::unique_ptr<State> state) : state_(std::move(state)) {}
Conversation::Conversation(Conversation&&) noexcept = default;

Conversation& Conversation::operator=(Conversation&& other) noexcept {
  // The session held so far ends with `other`.
  std::swap(state_, other.state_);
  return *this;
}

Conversation::~Conversation() {
  if (state_ == nullptr || state_->closed) return;
  v1::CloseSessionRequest request;
  request.set_session_id(state_->id);
  const auto timeout = std::min(kCloseInDestructor, state_->connection->options.call_timeout);
  static_cast<void>(
      Call(*state_->connection->stub, &Stub::CloseSession, request, timeout, state_->id));
}

const std::string& Conversation::id() const { return state_->id; }

void Conversation::Cancel() {
  const std::lock_guard lock(state_->mutex);
  if (!state_->asking) return;
  state_->stop_asked = true;
  if (state_->in_flight != nullptr) state_->in_flight->TryCancel();
}

absl::StatusOr<Answer> Conversation::AskOnce(const v1::GenerateRequest& request,
                                             const AskOptions& options, const OnText& on_text) {
  grpc::ClientContext context;
  SetSession(context, state_->id);
  const auto& timeout =
      options.timeout.has_value() ? options.timeout : state_->connection->options.ask_timeout;
  if (timeout.has_value()) SetTimeout(context, *timeout);
  const auto reader = state_->connection->stub->Generate(&context, request);
  {
    const std::lock_guard lock(state_->mutex);
    state_->in_flight = &context;
    if (state_->stop_asked) context.TryCancel();
  }
  Answer answer;
  v1::GenerateResponse event;
  bool completed = false;
  while (reader->Read(&event)) {
    if (options.on_event) options.on_event(event);
    completed = completed || event.has_completed();
    // What comes after a stop is text of the session too, but nobody waits for it.
    if (!Take(event, answer.stopped ? nullptr : on_text, &answer)) {
      answer.stopped = true;
      context.TryCancel();
    }
  }
  const absl::Status status = FromGrpc(reader->Finish());
  {
    const std::lock_guard lock(state_->mutex);
    state_->in_flight = nullptr;
    answer.stopped = answer.stopped || state_->stop_asked;
  }
  if (!IsTurnInFlight(status)) {
    state_->may_be_settling = status.code() == absl::StatusCode::kCancelled ||
                              status.code() == absl::StatusCode::kDeadlineExceeded;
  }
  // A stop that came too late is none.
  if (status.ok() && completed) {
    answer.stopped = false;
    return answer;
  }
  if (status.ok()) return absl::InternalError("the answer ended without the event Completed");
  if (answer.stopped && status.code() == absl::StatusCode::kCancelled) return answer;
  return status;
}

absl::StatusOr<Answer> Conversation::Ask(const std::vector<v1::InputPart>& parts,
                                         const AskOptions& options, const OnText& on_text) {
  const v1::GenerateRequest request = MakeRequest(state_->id, parts, options);
  const bool may_be_settling = state_->may_be_settling;
  const auto give_up = Clock::now() + kSettleTime;
  {
    const std::lock_guard lock(state_->mutex);
    state_->asking = true;
    state_->stop_asked = false;
  }
  while (true) {
    auto answer = AskOnce(request, options, on_text);
    const bool stopped = [&] {
      const std::lock_guard lock(state_->mutex);
      return state_->stop_asked;
    }();
    if (!IsTurnInFlight(answer.status()) || !may_be_settling || stopped || Clock::now() > give_up) {
      const std::lock_guard lock(state_->mutex);
      state_->asking = false;
      return answer;
    }
    std::this_thread::sleep_for(kSettlePause);
  }
}

absl::StatusOr<v1::Session> Conversation::Update(const v1::UpdateSessionRequest& request) {
  Connection& connection = *state_->connection;
  auto response = Call(*connection.stub, &Stub::UpdateSession, request,
                       connection.options.call_timeout, state_->id);
  if (!response.ok()) return response.status();
  return std::move(*response->mutable_session());
}

absl::StatusOr<v1::Session> Conversation::SetBudget(const v1::Budget& budget) {
  v1::UpdateSessionRequest request;
  request.set_session_id(state_->id);
  *request.mutable_budget() = budget;
  request.mutable_update_mask()->add_paths("budget");
  return Update(request);
}

absl::StatusOr<v1::Session> Conversation::Truncate(int32_t turn) {
  v1::UpdateSessionRequest request;
  request.set_session_id(state_->id);
  request.set_truncate_turn(turn);
  request.mutable_update_mask()->add_paths("truncate_turn");
  return WhenSettled(state_->may_be_settling, [&] { return Update(request); });
}

absl::StatusOr<Conversation> Conversation::Fork() {
  Client client(state_->connection);
  const auto session =
      WhenSettled(state_->may_be_settling, [&] { return client.ForkSession(state_->id); });
  if (!session.ok()) return session.status();
  return client.Attach(session->session_id());
}

absl::StatusOr<v1::Session> Conversation::Info() {
  return Client(state_->connection).GetSession(state_->id);
}

absl::StatusOr<bool> Conversation::Close() {
  if (state_->closed) return false;
  const auto existed = Client(state_->connection).CloseSession(state_->id);
  if (existed.ok()) state_->closed = true;
  return existed;
}

void Conversation::Release() { state_->closed = true; }

}  // namespace concertina::client
