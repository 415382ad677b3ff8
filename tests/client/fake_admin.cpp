#include "tests/client/fake_admin.h"

#include "absl/strings/str_cat.h"
#include "grpcpp/server_builder.h"
#include "tests/client/fake_service.h"

namespace concertina::testing {

FakeAdmin::FakeAdmin() {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  target_ = absl::StrCat("127.0.0.1:", port);
}

FakeAdmin::~FakeAdmin() { server_->Shutdown(); }

std::vector<v1::DrainRequest> FakeAdmin::drained() const {
  const std::lock_guard lock(mutex_);
  return drained_;
}

grpc::Status FakeAdmin::GetLoad(grpc::ServerContext*, const v1::GetLoadRequest*,
                                v1::GetLoadResponse* response) {
  const std::lock_guard lock(mutex_);
  response->set_requests_running(3);
  response->set_max_running(64);
  response->set_sessions_active(1'234);
  response->set_pool_capacity_bytes(int64_t{1} << 30);
  response->set_draining(!drained_.empty());
  return grpc::Status::OK;
}

grpc::Status FakeAdmin::Drain(grpc::ServerContext*, const v1::DrainRequest* request,
                              v1::DrainResponse* response) {
  const std::lock_guard lock(mutex_);
  drained_.push_back(*request);
  response->set_requests_running(2);
  return grpc::Status::OK;
}

grpc::Status FakeAdmin::EvictSession(grpc::ServerContext*, const v1::EvictSessionRequest* request,
                                     v1::EvictSessionResponse* response) {
  if (request->session_id() != "here") {
    return MakeError(grpc::NOT_FOUND, "no such session", "SESSION_NOT_FOUND");
  }
  response->set_freed_bytes(4096);
  return grpc::Status::OK;
}

}  // namespace concertina::testing
