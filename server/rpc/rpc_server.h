#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/engine/engine.h"
#include "server/metrics/rpc_metrics.h"
#include "server/rpc/environment.h"

namespace grpc {
class Server;
namespace experimental {
class ExternalConnectionAcceptor;
}  // namespace experimental
}  // namespace grpc

namespace concertina {

class ConnectionGuard;
class Service;

struct RpcServerOptions {
  std::string listen = "127.0.0.1:50051";  // port 0 takes a free one
  std::string model_name;                  // what GetModel answers
  RpcLimits limits;
  std::function<void(const CallLogEntry&)> log;  // may be empty; called from many threads
};

// The gRPC side of the process: InferenceService, grpc.health.v1 (for "", the service's name,
// "liveness" and "readiness") and reflection. Thread-safe.
class RpcServer {
 public:
  // `engine` and `metrics` must outlive the server. FAILED_PRECONDITION when the address cannot be
  // used.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(RpcServerOptions options, Engine& engine,
                                                          RpcMetrics& metrics);
  // Shutdown without grace, if it was not shut down before.
  ~RpcServer();
  RpcServer(const RpcServer&) = delete;
  RpcServer& operator=(const RpcServer&) = delete;

  int port() const { return port_; }
  // "host:port" as asked for, with the real port.
  std::string address() const;
  int64_t image_store_bytes() const { return images_.bytes(); }
  int32_t calls_in_flight() const { return env_->calls.in_flight(); }

  // Health answers NOT_SERVING from now on (liveness goes on); calls still work. Idempotent.
  void StopServing();

  // No new calls; those in flight may go on for `grace`, then they are cancelled. Returns when all
  // are over. Idempotent.
  void Shutdown(std::chrono::milliseconds grace);

 private:
  RpcServer(RpcServerOptions options, Engine& engine, RpcMetrics& metrics);
  absl::Status Listen();
  // Hands gRPC a connection.
  void Serve(int socket);

  const RpcServerOptions options_;
  ImageStore images_;
  ImageLoader loader_;
  StallMonitor stalls_;
  std::unique_ptr<RpcEnvironment> env_;
  std::unique_ptr<Service> service_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<ConnectionGuard> guard_;
  int port_ = 0;
};

}  // namespace concertina
