#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "models/bundle/model.h"
#include "server/app/engine_log.h"
#include "server/app/log.h"
#include "server/app/memory_plan.h"
#include "server/app/server_config.h"
#include "server/engine/engine.h"
#include "server/metrics/registry.h"
#include "server/metrics/rpc_metrics.h"
#include "server/rpc/admin_server.h"
#include "server/rpc/rpc_server.h"

namespace concertina {

// A whole server in one object: model, engine, metrics and gRPC, started in this order and stopped
// in the opposite one. main() runs one; tests run as many as they like.
class Runtime {
 public:
  // Returns once calls are answered. Loads the model unless one is given. `log` must outlive the
  // runtime.
  static absl::StatusOr<std::unique_ptr<Runtime>> Start(
      const ServerConfig& config, Log& log, std::shared_ptr<const Model> model = nullptr);
  // What a server with this configuration may take. Loads the model, listens nowhere.
  static absl::StatusOr<MemoryPlan> PlanOnly(const ServerConfig& config, Log& log);
  // Stop without grace, if it was not stopped before.
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  // Health turns to NOT_SERVING and new work is refused at once; turns in flight may go on for
  // `grace`, then they are cancelled. Returns when nothing runs any more. Idempotent.
  void Stop(std::chrono::milliseconds grace);

  Engine& engine() { return *engine_; }
  const Model& model() const { return *model_; }
  const RpcServer& rpc() const { return *rpc_; }
  std::string address() const { return rpc_->address(); }
  int port() const { return rpc_->port(); }
  std::string admin_address() const { return admin_ == nullptr ? "" : admin_->address(); }
  int metrics_port() const { return metrics_port_; }  // 0 when switched off
  std::string metrics_text() const { return registry_->Text(); }
  const MemoryPlan& memory_plan() const { return memory_plan_; }

 private:
  Runtime() = default;
  absl::Status StartEngine(const ServerConfig& config, Log& log,
                           std::shared_ptr<const Model> model);
  absl::Status StartRpc(const ServerConfig& config, Log& log);
  absl::Status StartAdmin(const ServerConfig& config, Log& log);
  absl::Status StartMetrics(const ServerConfig& config);
  void AddMemoryMetrics();
  void AddLimitMetrics(const ServerConfig& config);

  std::shared_ptr<const Model> model_;
  std::string model_name_;
  std::unique_ptr<MetricsRegistry> registry_;
  std::unique_ptr<RpcMetrics> rpc_metrics_;
  std::unique_ptr<Engine> engine_;
  MemoryPlan memory_plan_;
  std::unique_ptr<RpcServer> rpc_;
  std::unique_ptr<AdminServer> admin_;  // null when switched off
  int metrics_port_ = 0;
  bool stopped_ = false;
};

}  // namespace concertina
