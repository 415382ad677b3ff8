#include "client/client.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "client/errors.h"
#include "client/session_state.h"
#include "client/uuid.h"

namespace concertina::client {
namespace {

using Clock = std::chrono::steady_clock;
using Stub = v1::InferenceService::Stub;

constexpr size_t kChunkBytes = 60 << 10;  // the largest the service takes
constexpr std::chrono::milliseconds kFirstPause{100};
constexpr std::chrono::milliseconds kLongestPause{1'000};

v1::OpenSessionRequest MakeRequest(const std::string& id, const OpenOptions& options) {
  v1::OpenSessionRequest request;
  request.set_session_id(id);
  if (options.policy.has_value()) *request.mutable_policy() = *options.policy;
  if (options.budget.has_value()) *request.mutable_budget() = *options.budget;
  request.set_system_prompt(options.system_prompt);
  for (const auto& message : options.history) *request.add_history() = message;
  return request;
}

// OpenSession until the server is there. The id is ours, so a repeated call cannot open two
// sessions: if the answer to an earlier attempt was lost, the id exists, and that is our session.
absl::Status OpenWithRetries(Connection& connection, const v1::OpenSessionRequest& request,
                             std::chrono::milliseconds retry_for) {
  const auto give_up = Clock::now() + std::min(retry_for, connection.options.open_timeout);
  auto pause = kFirstPause;
  for (int attempt = 0;; ++attempt) {
    const absl::Status status = Call(*connection.stub, &Stub::OpenSession, request,
                                     connection.options.open_timeout, request.session_id())
                                    .status();
    if (attempt > 0 && status.code() == absl::StatusCode::kAlreadyExists) return absl::OkStatus();
    if (status.code() != absl::StatusCode::kUnavailable) return status;
    const auto wait = DetailsOf(status).retry_after.value_or(pause);
    if (Clock::now() + wait > give_up) return status;
    std::this_thread::sleep_for(wait);
    pause = std::min(2 * pause, kLongestPause);
  }
}

}  // namespace

Client::Client(std::shared_ptr<Connection> connection) : connection_(std::move(connection)) {}
Client::~Client() = default;

std::unique_ptr<Client> Client::Connect(const std::string& target, const ClientOptions& options) {
  auto connection = std::make_shared<Connection>();
  connection->options = options;
  connection->channel = MakeChannel(target, options.retry);
  connection->stub = v1::InferenceService::NewStub(connection->channel);
  return std::unique_ptr<Client>(new Client(std::move(connection)));
}

absl::StatusOr<Conversation> Client::Open(const OpenOptions& options) {
  auto id = MakeUuidV4();
  if (!id.ok()) return id.status();
  const auto status = OpenWithRetries(*connection_, MakeRequest(*id, options), options.retry_for);
  if (!status.ok()) return status;
  return Attach(*id);
}

Conversation Client::Attach(const std::string& id) {
  auto state = std::make_unique<Conversation::State>();
  state->connection = connection_;
  state->id = id;
  return Conversation(std::move(state));
}

absl::StatusOr<v1::Session> Client::ForkSession(const std::string& id) {
  auto new_id = MakeUuidV4();
  if (!new_id.ok()) return new_id.status();
  v1::ForkSessionRequest request;
  request.set_session_id(id);
  request.set_new_session_id(*std::move(new_id));
  auto response =
      Call(*connection_->stub, &Stub::ForkSession, request, connection_->options.call_timeout, id);
  if (!response.ok()) return response.status();
  return std::move(*response->mutable_session());
}

absl::StatusOr<UploadedFile> Client::UploadImage(std::string_view bytes,
                                                 const std::string& session_id) {
  grpc::ClientContext context;
  SetTimeout(context, connection_->options.call_timeout);
  if (!session_id.empty()) SetSession(context, session_id);
  v1::UploadImageResponse response;
  const auto writer = connection_->stub->UploadImage(&context, &response);
  for (size_t at = 0; at < bytes.size(); at += kChunkBytes) {
    v1::UploadImageRequest request;
    request.set_chunk(std::string(bytes.substr(at, kChunkBytes)));
    // The server has made up its mind: Finish says why.
    if (!writer->Write(request)) break;
  }
  writer->WritesDone();
  const auto status = writer->Finish();
  if (!status.ok()) return FromGrpc(status);
  return response;
}

absl::StatusOr<v1::ScoreResponse> Client::Score(const v1::ScoreRequest& request) {
  return Call(*connection_->stub, &Stub::Score, request, connection_->options.score_timeout);
}

absl::StatusOr<std::vector<v1::Session>> Client::ListSessions() {
  std::vector<v1::Session> sessions;
  v1::ListSessionsRequest request;
  while (true) {
    auto page =
        Call(*connection_->stub, &Stub::ListSessions, request, connection_->options.call_timeout);
    if (!page.ok()) return page.status();
    for (auto& session : *page->mutable_sessions()) sessions.push_back(std::move(session));
    if (page->next_page_token().empty()) return sessions;
    if (page->next_page_token() == request.page_token()) {
      return absl::InternalError("the server repeats a page of sessions");
    }
    request.set_page_token(page->next_page_token());
  }
}

absl::StatusOr<v1::Session> Client::GetSession(const std::string& id) {
  v1::GetSessionRequest request;
  request.set_session_id(id);
  auto response =
      Call(*connection_->stub, &Stub::GetSession, request, connection_->options.call_timeout, id);
  if (!response.ok()) return response.status();
  return std::move(*response->mutable_session());
}

absl::StatusOr<bool> Client::CloseSession(const std::string& id) {
  v1::CloseSessionRequest request;
  request.set_session_id(id);
  const auto response =
      Call(*connection_->stub, &Stub::CloseSession, request, connection_->options.call_timeout, id);
  if (!response.ok()) return response.status();
  return response->existed();
}

absl::StatusOr<v1::TokenizeResponse> Client::Tokenize(const v1::TokenizeRequest& request) {
  return Call(*connection_->stub, &Stub::Tokenize, request, connection_->options.call_timeout);
}

absl::StatusOr<v1::GetModelResponse> Client::GetModel() {
  return Call(*connection_->stub, &Stub::GetModel, v1::GetModelRequest(),
              connection_->options.call_timeout);
}

}  // namespace concertina::client
