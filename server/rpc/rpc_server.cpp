#include "server/rpc/rpc_server.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "grpcpp/resource_quota.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "server/rpc/grpc_setup.h"
#include "server/rpc/guard/connection_guard.h"
#include "server/rpc/service.h"

namespace concertina {
namespace {

// Room above our own limit, so that a request a little too large gets our error, which names the
// limit.
constexpr int64_t kReceiveSlackBytes = 1 << 20;

constexpr std::chrono::milliseconds kLastWords{1000};

}  // namespace

RpcServer::RpcServer(RpcServerOptions options, Engine& engine, RpcMetrics& metrics)
    : options_(std::move(options)),
      images_(options_.limits.image_store_bytes),
      loader_(engine.model(), options_.limits, images_, metrics),
      stalls_(std::min(options_.limits.stall_timeout / 4, std::chrono::milliseconds(1000))),
      env_(new RpcEnvironment{
          {metrics, options_.limits, options_.log}, engine, loader_, stalls_, options_.model_name}),
      service_(std::make_unique<Service>(*env_)) {}

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(RpcServerOptions options,
                                                            Engine& engine, RpcMetrics& metrics) {
  std::unique_ptr<RpcServer> server(new RpcServer(std::move(options), engine, metrics));
  if (auto status = server->Listen(); !status.ok()) return status;
  return server;
}

absl::Status RpcServer::Listen() {
  GuardOptions guard;
  guard.listen = options_.listen;
  guard.limits.stall_timeout = options_.limits.stall_timeout;
  guard.serve = [this](int socket) { Serve(socket); };
  guard.on_cut = [this](const char* reason) { env_->metrics.OnRejected(reason); };
  auto listening = ConnectionGuard::Listen(std::move(guard));
  if (!listening.ok()) return listening.status();
  guard_ = *std::move(listening);
  port_ = guard_->port();
  EnablePlugins();
  grpc::ServerBuilder builder;
  acceptor_ = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      grpc::InsecureServerCredentials());
  builder.RegisterService(service_.get());
  builder.SetMaxReceiveMessageSize(
      static_cast<int>(options_.limits.large_message_bytes + kReceiveSlackBytes));
  // What gRPC reads ahead of us: messages on their way to a handler.
  grpc::ResourceQuota quota("concertina");
  quota.Resize(static_cast<size_t>(options_.limits.max_request_bytes));
  builder.SetResourceQuota(quota);
  RemoveChannelz(builder);
  Harden(builder);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) return absl::InternalError("gRPC does not start");
  SetServing(*server_, v1::InferenceService::service_full_name(), true);
  guard_->Run();
  return absl::OkStatus();
}

void RpcServer::Serve(int socket) {
  grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
  connection.fd = socket;
  acceptor_->HandleNewConnection(&connection);
}

RpcServer::~RpcServer() { Shutdown(std::chrono::milliseconds(0)); }

std::string RpcServer::address() const {
  const std::string& listen = options_.listen;
  return absl::StrCat(listen.substr(0, listen.rfind(':')), ":", port_);
}

void RpcServer::StopServing() {
  if (server_ != nullptr) {
    SetServing(*server_, v1::InferenceService::service_full_name(), false);
  }
}

void RpcServer::Shutdown(std::chrono::milliseconds grace) {
  if (server_ == nullptr) return;
  StopServing();
  if (guard_ != nullptr) guard_->StopAccepting();
  server_->Shutdown(std::chrono::system_clock::now() + grace);
  server_->Wait();
  // Last words, such as the statuses of the last calls, are still on their way.
  if (guard_ != nullptr) guard_->Drain(kLastWords);
  guard_.reset();
  server_.reset();
}

}  // namespace concertina
