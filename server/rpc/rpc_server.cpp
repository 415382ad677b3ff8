#include "server/rpc/rpc_server.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "server/rpc/service.h"

namespace concertina {
namespace {

constexpr char kLiveness[] = "liveness";
constexpr char kReadiness[] = "readiness";
// Room above our own limit, so that a request a little too large gets our error, which names the
// limit.
constexpr int64_t kReceiveSlackBytes = 1 << 20;

// gRPC's plugins are process-wide and must be asked for before the first server is built.
void EnablePluginsOnce() {
  static const bool kEnabled = [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    return true;
  }();
  static_cast<void>(kEnabled);
}

// Clients that vanish without a word are found by pings; those that ping too often are sent away.
void ConfigureKeepalive(grpc::ServerBuilder& builder) {
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // Two servers on one port would share the connections at random.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
}

}  // namespace

RpcServer::RpcServer(RpcServerOptions options, Engine& engine, RpcMetrics& metrics)
    : options_(std::move(options)),
      images_(options_.limits.image_store_bytes),
      loader_(engine.model(), options_.limits, images_, metrics),
      stalls_(std::min(options_.limits.stall_timeout / 4, std::chrono::milliseconds(1000))),
      env_(new RpcEnvironment{engine, loader_, metrics, stalls_, options_.limits,
                              options_.model_name, options_.log}),
      service_(std::make_unique<Service>(*env_)) {}

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(RpcServerOptions options,
                                                            Engine& engine, RpcMetrics& metrics) {
  std::unique_ptr<RpcServer> server(new RpcServer(std::move(options), engine, metrics));
  if (auto status = server->Listen(); !status.ok()) return status;
  return server;
}

absl::Status RpcServer::Listen() {
  EnablePluginsOnce();
  grpc::ServerBuilder builder;
  builder.AddListeningPort(options_.listen, grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(service_.get());
  builder.SetMaxReceiveMessageSize(
      static_cast<int>(options_.limits.large_message_bytes + kReceiveSlackBytes));
  ConfigureKeepalive(builder);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port_ == 0) {
    return absl::FailedPreconditionError(absl::StrCat("cannot listen on ", options_.listen));
  }
  server_->GetHealthCheckService()->SetServingStatus(kLiveness, true);
  SetServing(true);
  return absl::OkStatus();
}

RpcServer::~RpcServer() { Shutdown(std::chrono::milliseconds(0)); }

std::string RpcServer::address() const {
  const std::string& listen = options_.listen;
  return absl::StrCat(listen.substr(0, listen.rfind(':')), ":", port_);
}

void RpcServer::SetServing(bool serving) {
  grpc::HealthCheckServiceInterface* health = server_->GetHealthCheckService();
  health->SetServingStatus("", serving);
  health->SetServingStatus(v1::InferenceService::service_full_name(), serving);
  health->SetServingStatus(kReadiness, serving);
}

void RpcServer::StopServing() {
  if (server_ != nullptr) SetServing(false);
}

void RpcServer::Shutdown(std::chrono::milliseconds grace) {
  if (server_ == nullptr) return;
  StopServing();
  server_->Shutdown(std::chrono::system_clock::now() + grace);
  server_->Wait();
  server_.reset();
}

}  // namespace concertina
