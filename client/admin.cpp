#include "client/admin.h"

#include <utility>

#include "client/connection.h"
#include "concertina/v1/admin_service.grpc.pb.h"

namespace concertina::client {

using Stub = v1::AdminService::Stub;

struct Admin::State {
  ClientOptions options;
  std::unique_ptr<Stub> stub;
};

Admin::Admin(std::unique_ptr<State> state) : state_(std::move(state)) {}
Admin::~Admin() = default;

std::unique_ptr<Admin> Admin::Connect(const std::string& target, const ClientOptions& options) {
  auto state = std::make_unique<State>();
  state->options = options;
  state->stub = v1::AdminService::NewStub(MakeChannel(target, options.retry));
  return std::unique_ptr<Admin>(new Admin(std::move(state)));
}

absl::StatusOr<v1::GetLoadResponse> Admin::GetLoad() {
  return Call(*state_->stub, &Stub::GetLoad, v1::GetLoadRequest(), state_->options.call_timeout);
}

absl::StatusOr<int64_t> Admin::Drain(std::chrono::milliseconds wait) {
  v1::DrainRequest request;
  request.mutable_timeout()->set_seconds(wait.count() / 1000);
  request.mutable_timeout()->set_nanos(static_cast<int32_t>(wait.count() % 1000) * 1'000'000);
  const auto response =
      Call(*state_->stub, &Stub::Drain, request, state_->options.call_timeout + wait);
  if (!response.ok()) return response.status();
  return response->requests_running();
}

absl::StatusOr<int64_t> Admin::EvictSession(const std::string& id) {
  v1::EvictSessionRequest request;
  request.set_session_id(id);
  const auto response =
      Call(*state_->stub, &Stub::EvictSession, request, state_->options.call_timeout);
  if (!response.ok()) return response.status();
  return response->freed_bytes();
}

}  // namespace concertina::client
