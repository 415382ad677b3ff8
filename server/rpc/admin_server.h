#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/engine/engine.h"
#include "server/metrics/rpc_metrics.h"
#include "server/rpc/environment.h"
#include "server/rpc/rpc_server.h"

namespace grpc {
class Server;
}  // namespace grpc

namespace concertina {

class AdminService;
class DrainWaiter;

struct AdminServerOptions {
  std::string listen = "127.0.0.1:50052";  // port 0 takes a free one
  RpcLimits limits;
  std::function<void(const CallLogEntry&)> log;  // may be empty; called from many threads
};

// What operators see, on an address of its own: AdminService, grpc.health.v1 (as on the public
// server), reflection and channelz. Thread-safe.
class AdminServer {
 public:
  // Whether `listen` ("" or "none") says that there shall be no admin server.
  static bool IsOff(std::string_view listen) { return listen.empty() || listen == "none"; }

  // All must outlive the admin server; Drain turns the health of `rpc` to NOT_SERVING.
  // FAILED_PRECONDITION when the address cannot be used. REQUIRES: !IsOff(options.listen).
  static absl::StatusOr<std::unique_ptr<AdminServer>> Start(AdminServerOptions options,
                                                            Engine& engine, RpcMetrics& metrics,
                                                            RpcServer& rpc);
  // Shutdown without grace, if it was not shut down before.
  ~AdminServer();
  AdminServer(const AdminServer&) = delete;
  AdminServer& operator=(const AdminServer&) = delete;

  int port() const { return port_; }
  // "host:port" as asked for, with the real port.
  std::string address() const;

  // Its own readiness answers NOT_SERVING from now on. Idempotent.
  void StopServing();

  // No new calls; calls that wait for a drain are answered at once. Idempotent.
  void Shutdown(std::chrono::milliseconds grace);

 private:
  AdminServer(AdminServerOptions options, Engine& engine, RpcMetrics& metrics, RpcServer& rpc);
  absl::Status Listen();

  const AdminServerOptions options_;
  CallEnvironment env_;
  std::unique_ptr<DrainWaiter> waiter_;
  std::unique_ptr<AdminService> service_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

}  // namespace concertina
