#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "concertina/v1/admin_service.grpc.pb.h"
#include "grpcpp/server.h"

namespace concertina::testing {

// An AdminService on a free loopback port that knows one session, "here", and remembers what it was
// asked. Thread-safe.
class FakeAdmin final : public v1::AdminService::Service {
 public:
  FakeAdmin();
  ~FakeAdmin() override;

  const std::string& target() const { return target_; }
  std::vector<v1::DrainRequest> drained() const;

  grpc::Status GetLoad(grpc::ServerContext*, const v1::GetLoadRequest*,
                       v1::GetLoadResponse*) override;
  grpc::Status Drain(grpc::ServerContext*, const v1::DrainRequest*, v1::DrainResponse*) override;
  grpc::Status EvictSession(grpc::ServerContext*, const v1::EvictSessionRequest*,
                            v1::EvictSessionResponse*) override;

 private:
  mutable std::mutex mutex_;
  std::vector<v1::DrainRequest> drained_;
  std::unique_ptr<grpc::Server> server_;
  std::string target_;
};

}  // namespace concertina::testing
