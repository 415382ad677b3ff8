#include "tests/client/fake_service.h"

#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/server_builder.h"

namespace concertina::testing {
namespace {

constexpr std::chrono::seconds kWait{60};

v1::Session MakeSession(const std::string& id) {
  v1::Session session;
  session.set_session_id(id);
  session.set_state(v1::SESSION_STATE_IDLE);
  session.mutable_policy()->set_name("concertina");
  session.mutable_cache()->mutable_budget()->set_ratio(0.2);
  return session;
}

void FillFold(v1::Folded* folded) {
  for (int layer = 0; layer < kFakeLayers; ++layer) {
    v1::LayerFold* fold = folded->add_layers();
    fold->set_entries_before(1000);
    fold->set_entries_after(200);
    fold->set_bytes_before(64000);
    fold->set_bytes_after(12800);
    fold->set_attention_mass_kept(0.75);
  }
  v1::CacheState* cache = folded->mutable_cache();
  cache->mutable_budget()->set_ratio(0.2);
  cache->set_budget_entries(410);
  cache->set_live_entries(400);
  cache->set_used_bytes(25600);
  cache->set_full_bytes(128000);
}

}  // namespace

FakeTurn MakeTurn(const std::vector<std::string>& words) {
  FakeTurn turn;
  turn.events.emplace_back().mutable_started()->set_turn(1);
  turn.events.emplace_back().mutable_prefill_progress()->set_total(10);
  FillFold(turn.events.emplace_back().mutable_folded());
  const v1::CacheState cache = turn.events.back().folded().cache();
  for (const std::string& word : words) {
    v1::Delta* delta = turn.events.emplace_back().mutable_delta();
    delta->set_text(word);
    delta->add_token_ids(static_cast<int32_t>(word.size()));
  }
  v1::Completed* completed = turn.events.emplace_back().mutable_completed();
  completed->set_finish_reason(v1::FINISH_REASON_STOP);
  *completed->mutable_cache() = cache;
  completed->mutable_usage()->set_image_tokens(100);
  completed->mutable_usage()->set_prompt_tokens(120);
  completed->mutable_timings()->mutable_time_to_first_token()->set_nanos(250'000'000);
  completed->mutable_timings()->set_tokens_per_second(42.5);
  completed->set_turn(1);
  return turn;
}

FakeTurn MakeRefusal(const std::string& reason, int64_t retry_ms) {
  FakeTurn turn;
  turn.status = MakeError(grpc::RESOURCE_EXHAUSTED, "not now", reason, "", retry_ms);
  turn.pushback_ms = retry_ms;
  return turn;
}

grpc::Status MakeError(grpc::StatusCode code, const std::string& message, const std::string& reason,
                       const std::string& field, int64_t retry_ms) {
  google::rpc::Status details;
  details.set_code(code);
  details.set_message(message);
  if (!reason.empty()) {
    google::rpc::ErrorInfo info;
    info.set_reason(reason);
    info.set_domain("concertina");
    details.add_details()->PackFrom(info);
  }
  if (!field.empty()) {
    google::rpc::BadRequest bad_request;
    bad_request.add_field_violations()->set_field(field);
    details.add_details()->PackFrom(bad_request);
  }
  if (retry_ms > 0) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(retry_ms / 1000);
    retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(retry_ms % 1000) * 1'000'000);
    details.add_details()->PackFrom(retry);
  }
  return {code, message, details.SerializeAsString()};
}

void FakeService::AddTurn(FakeTurn turn) {
  const std::lock_guard lock(mutex_);
  turns_.push_back(std::move(turn));
}

void FakeService::AddOpenStatus(grpc::Status status, bool open_all_the_same) {
  const std::lock_guard lock(mutex_);
  open_steps_.push_back({std::move(status), open_all_the_same});
}

void FakeService::SetScore(std::function<v1::ScoreResponse(const v1::ScoreRequest&)> score) {
  score_ = std::move(score);
}

void FakeService::SetUploadLimit(size_t bytes) { upload_limit_ = bytes; }

void FakeService::AddSession(const std::string& id) {
  const std::lock_guard lock(mutex_);
  sessions_[id] = MakeSession(id);
}

void FakeService::AddSession(const v1::Session& session) {
  const std::lock_guard lock(mutex_);
  sessions_[session.session_id()] = session;
}

void FakeService::AddUpdateStatus(grpc::Status status) {
  const std::lock_guard lock(mutex_);
  update_steps_.push_back(std::move(status));
}

grpc::Status FakeService::NextUpdateStatus() {
  if (update_steps_.empty()) return grpc::Status::OK;
  grpc::Status status = std::move(update_steps_.front());
  update_steps_.pop_front();
  return status;
}

void FakeService::SetCloseIsALie() { close_is_a_lie_ = true; }

void FakeService::Remember(const char* method, const grpc::ServerContext& context) {
  const auto found = context.client_metadata().find("x-session-id");
  if (found == context.client_metadata().end()) return;
  const std::lock_guard lock(mutex_);
  routed_.push_back(std::string(method) + " " +
                    std::string(found->second.data(), found->second.size()));
}

std::vector<v1::OpenSessionRequest> FakeService::opened() const {
  const std::lock_guard lock(mutex_);
  return opened_;
}
std::vector<v1::GenerateRequest> FakeService::asked() const {
  const std::lock_guard lock(mutex_);
  return asked_;
}
std::vector<v1::UpdateSessionRequest> FakeService::updated() const {
  const std::lock_guard lock(mutex_);
  return updated_;
}
std::vector<v1::ForkSessionRequest> FakeService::forked() const {
  const std::lock_guard lock(mutex_);
  return forked_;
}
std::vector<v1::ScoreRequest> FakeService::scored() const {
  const std::lock_guard lock(mutex_);
  return scored_;
}
std::vector<std::string> FakeService::closed() const {
  const std::lock_guard lock(mutex_);
  return closed_;
}
std::vector<size_t> FakeService::chunks() const {
  const std::lock_guard lock(mutex_);
  return chunks_;
}
std::vector<std::string> FakeService::routed() const {
  const std::lock_guard lock(mutex_);
  return routed_;
}
int FakeService::cancelled() const {
  const std::lock_guard lock(mutex_);
  return cancelled_;
}

bool FakeService::WaitForAsked(size_t count) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, kWait, [&] { return asked_.size() >= count; });
}

bool FakeService::WaitForCancelled(int count) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, kWait, [&] { return cancelled_ >= count; });
}

grpc::Status FakeService::OpenSession(grpc::ServerContext* context,
                                      const v1::OpenSessionRequest* request,
                                      v1::OpenSessionResponse* response) {
  Remember("OpenSession", *context);
  const std::lock_guard lock(mutex_);
  opened_.push_back(*request);
  grpc::Status status;
  bool open = true;
  if (!open_steps_.empty()) {
    status = open_steps_.front().status;
    open = status.ok() || open_steps_.front().open_all_the_same;
    open_steps_.pop_front();
  }
  if (open) {
    sessions_[request->session_id()] = MakeSession(request->session_id());
    *response->mutable_session() = sessions_[request->session_id()];
  }
  return status;
}

grpc::Status FakeService::Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                                   grpc::ServerWriter<v1::GenerateResponse>* writer) {
  Remember("Generate", *context);
  FakeTurn turn = MakeTurn({"ok"});
  {
    const std::lock_guard lock(mutex_);
    asked_.push_back(*request);
    changed_.notify_all();
    if (!turns_.empty()) {
      turn = std::move(turns_.front());
      turns_.pop_front();
    }
    const auto found = sessions_.find(request->session_id());
    if (turn.status.ok() && found != sessions_.end()) {
      found->second.set_turns(found->second.turns() + 1);
    }
  }
  if (turn.pushback_ms > 0) {
    context->AddTrailingMetadata("grpc-retry-pushback-ms", absl::StrCat(turn.pushback_ms));
  }
  for (const auto& event : turn.events) {
    if (!writer->Write(event)) break;
  }
  const auto give_up = std::chrono::steady_clock::now() + kWait;
  while (turn.hold && !context->IsCancelled() && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  if (turn.hold && context->IsCancelled()) {
    const std::lock_guard lock(mutex_);
    ++cancelled_;
    changed_.notify_all();
  }
  return turn.status;
}

grpc::Status FakeService::Score(grpc::ServerContext*, const v1::ScoreRequest* request,
                                v1::ScoreResponse* response) {
  const std::lock_guard lock(mutex_);
  scored_.push_back(*request);
  if (score_) *response = score_(*request);
  return grpc::Status::OK;
}

grpc::Status FakeService::UploadImage(grpc::ServerContext* context,
                                      grpc::ServerReader<v1::UploadImageRequest>* reader,
                                      v1::UploadImageResponse* response) {
  Remember("UploadImage", *context);
  v1::UploadImageRequest request;
  size_t bytes = 0;
  while (reader->Read(&request)) {
    bytes += request.chunk().size();
    const std::lock_guard lock(mutex_);
    chunks_.push_back(request.chunk().size());
    if (bytes > upload_limit_) {
      return MakeError(grpc::INVALID_ARGUMENT, "the file is too large", "", "chunk");
    }
  }
  response->set_sha256(std::string(64, 'a'));
  response->set_bytes(static_cast<int64_t>(bytes));
  response->set_width(160);
  response->set_height(120);
  return grpc::Status::OK;
}

grpc::Status FakeService::GetSession(grpc::ServerContext* context,
                                     const v1::GetSessionRequest* request,
                                     v1::GetSessionResponse* response) {
  Remember("GetSession", *context);
  const std::lock_guard lock(mutex_);
  const auto found = sessions_.find(request->session_id());
  if (found == sessions_.end()) {
    return MakeError(grpc::NOT_FOUND, "no such session", "SESSION_NOT_FOUND");
  }
  *response->mutable_session() = found->second;
  return grpc::Status::OK;
}

grpc::Status FakeService::ListSessions(grpc::ServerContext*, const v1::ListSessionsRequest* request,
                                       v1::ListSessionsResponse* response) {
  // Pages of two, so that a client that reads one page only is found out.
  const std::lock_guard lock(mutex_);
  auto next = sessions_.upper_bound(request->page_token());
  for (int i = 0; i < 2 && next != sessions_.end(); ++i, ++next) {
    *response->add_sessions() = next->second;
  }
  if (next != sessions_.end()) {
    response->set_next_page_token(response->sessions().rbegin()->session_id());
  }
  return grpc::Status::OK;
}

grpc::Status FakeService::UpdateSession(grpc::ServerContext* context,
                                        const v1::UpdateSessionRequest* request,
                                        v1::UpdateSessionResponse* response) {
  Remember("UpdateSession", *context);
  const std::lock_guard lock(mutex_);
  updated_.push_back(*request);
  if (auto status = NextUpdateStatus(); !status.ok()) return status;
  v1::Session& session = sessions_[request->session_id()];
  for (const std::string& path : request->update_mask().paths()) {
    if (path == "budget") *session.mutable_cache()->mutable_budget() = request->budget();
    if (path == "truncate_turn") session.set_turns(request->truncate_turn());
  }
  *response->mutable_session() = session;
  return grpc::Status::OK;
}

grpc::Status FakeService::ForkSession(grpc::ServerContext* context,
                                      const v1::ForkSessionRequest* request,
                                      v1::ForkSessionResponse* response) {
  Remember("ForkSession", *context);
  const std::lock_guard lock(mutex_);
  forked_.push_back(*request);
  if (auto status = NextUpdateStatus(); !status.ok()) return status;
  const auto found = sessions_.find(request->session_id());
  if (found == sessions_.end()) {
    return MakeError(grpc::NOT_FOUND, "no such session", "SESSION_NOT_FOUND");
  }
  v1::Session& copy = sessions_[request->new_session_id()];
  copy = found->second;
  copy.set_session_id(request->new_session_id());
  *response->mutable_session() = copy;
  return grpc::Status::OK;
}

grpc::Status FakeService::CloseSession(grpc::ServerContext* context,
                                       const v1::CloseSessionRequest* request,
                                       v1::CloseSessionResponse* response) {
  Remember("CloseSession", *context);
  const std::lock_guard lock(mutex_);
  closed_.push_back(request->session_id());
  response->set_existed(close_is_a_lie_ || sessions_.erase(request->session_id()) > 0);
  return grpc::Status::OK;
}

grpc::Status FakeService::Tokenize(grpc::ServerContext*, const v1::TokenizeRequest* request,
                                   v1::TokenizeResponse* response) {
  // One token per byte: pieces that are not UTF-8 on their own.
  for (const char c : request->text()) {
    response->add_ids(static_cast<unsigned char>(c));
    response->add_pieces(std::string(1, c));
  }
  return grpc::Status::OK;
}

grpc::Status FakeService::GetModel(grpc::ServerContext*, const v1::GetModelRequest*,
                                   v1::GetModelResponse* response) {
  response->set_name("fake");
  response->set_layers(kFakeLayers);
  response->set_chat_family("chatml-smollm");
  response->set_weight_type("stored+bf16");
  v1::WeightCopy* copy = response->add_weight_copies();
  copy->set_role(v1::WEIGHT_ROLE_PREFILL);
  copy->set_type("bf16");
  copy->set_bytes(2 << 20);
  copy->set_bytes_per_parameter(2);
  copy->set_rows_from(32);
  copy->set_read_bytes_per_second(25e9);
  copy->set_operations_per_second(400e9);
  return grpc::Status::OK;
}

FakeServer::FakeServer() {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service_);
  server_ = builder.BuildAndStart();
  target_ = absl::StrCat("127.0.0.1:", port);
}

FakeServer::~FakeServer() {
  server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1));
}

}  // namespace concertina::testing
