#include "server/rpc/admin_server.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/calls/drain_waiter.h"
#include "server/rpc/grpc_setup.h"

namespace concertina {

AdminServer::AdminServer(AdminServerOptions options, Engine& engine, RpcMetrics& metrics,
                         RpcServer& rpc)
    : options_(std::move(options)),
      env_{metrics, options_.limits, options_.log},
      waiter_(std::make_unique<DrainWaiter>(engine)),
      service_(std::make_unique<AdminService>(env_, engine, rpc, *waiter_, [this, &rpc] {
        rpc.StopServing();
        StopServing();
      })) {}

absl::StatusOr<std::unique_ptr<AdminServer>> AdminServer::Start(AdminServerOptions options,
                                                                Engine& engine, RpcMetrics& metrics,
                                                                RpcServer& rpc) {
  std::unique_ptr<AdminServer> server(new AdminServer(std::move(options), engine, metrics, rpc));
  if (auto status = server->Listen(); !status.ok()) return status;
  return server;
}

absl::Status AdminServer::Listen() {
  EnablePlugins();
  grpc::ServerBuilder builder;
  builder.AddListeningPort(options_.listen, grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(service_.get());
  builder.SetMaxReceiveMessageSize(static_cast<int>(2 * options_.limits.small_message_bytes));
  Harden(builder);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port_ == 0) {
    return absl::FailedPreconditionError(absl::StrCat("cannot listen on ", options_.listen));
  }
  SetServing(*server_, v1::AdminService::service_full_name(), true);
  return absl::OkStatus();
}

AdminServer::~AdminServer() { Shutdown(std::chrono::milliseconds(0)); }

std::string AdminServer::address() const {
  const std::string& listen = options_.listen;
  return absl::StrCat(listen.substr(0, listen.rfind(':')), ":", port_);
}

void AdminServer::StopServing() {
  if (server_ != nullptr) SetServing(*server_, v1::AdminService::service_full_name(), false);
}

void AdminServer::Shutdown(std::chrono::milliseconds grace) {
  if (server_ == nullptr) return;
  StopServing();
  waiter_->Stop();
  server_->Shutdown(std::chrono::system_clock::now() + grace);
  server_->Wait();
  server_.reset();
}

}  // namespace concertina
