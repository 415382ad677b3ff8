#include "server/app/runtime.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/app/units.h"
#include "server/metrics/info_metrics.h"

namespace concertina {
namespace {

// For the last bytes of calls that are over, and for calls that only look.
constexpr std::chrono::milliseconds kFlushTime{500};

std::string TypeName(MatrixType type) { return type == MatrixType::kF32 ? "f32" : "bf16"; }
std::string TypeName(EntryType type) { return type == EntryType::kF32 ? "f32" : "bf16"; }

absl::StatusOr<std::shared_ptr<const Model>> Load(const ServerConfig& config, Log& log) {
  const auto start = std::chrono::steady_clock::now();
  ModelOptions options;
  options.path = config.model;
  options.vision_path = config.vision;
  options.weight_type = config.weights;
  options.chat_family = config.chat_family;
  auto model = LoadModel(options);
  if (!model.ok()) return model.status();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  log.Info(absl::StrCat("loaded ", (*model)->name, " in ", took.count(),
                        " s: ", TypeName(config.weights), " weights, ",
                        (*model)->weight_bytes >> 20, " MiB"));
  return model;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Runtime>> Runtime::Start(const ServerConfig& config, Log& log,
                                                        std::shared_ptr<const Model> model) {
  std::unique_ptr<Runtime> runtime(new Runtime);
  if (model == nullptr) {
    auto loaded = Load(config, log);
    if (!loaded.ok()) return loaded.status();
    model = *std::move(loaded);
  }
  runtime->model_ = std::move(model);
  runtime->model_name_ = config.model_name.empty() ? runtime->model_->name : config.model_name;
  if (auto status = runtime->StartEngine(config); !status.ok()) return status;
  if (auto status = runtime->StartRpc(config, log); !status.ok()) return status;
  if (auto status = runtime->StartMetrics(config); !status.ok()) return status;
  return runtime;
}

absl::Status Runtime::StartEngine(const ServerConfig& config) {
  registry_ = std::make_unique<MetricsRegistry>(model_name_);
  engine_metrics_ = std::make_shared<EngineMetrics>(*registry_);
  rpc_metrics_ = std::make_unique<RpcMetrics>(*registry_);
  auto engine = Engine::Start(config.engine, model_, engine_metrics_, std::make_shared<Clock>());
  if (!engine.ok()) return engine.status();
  engine_ = *std::move(engine);
  return absl::OkStatus();
}

absl::Status Runtime::StartRpc(const ServerConfig& config, Log& log) {
  RpcServerOptions options;
  options.listen = config.listen;
  options.model_name = model_name_;
  options.limits = config.limits;
  options.log = [&log](const CallLogEntry& entry) { log.Call(entry); };
  auto rpc = RpcServer::Start(std::move(options), *engine_, *rpc_metrics_);
  if (!rpc.ok()) return rpc.status();
  rpc_ = *std::move(rpc);
  return absl::OkStatus();
}

absl::Status Runtime::StartMetrics(const ServerConfig& config) {
  InfoLabels info;
  info.version = CONCERTINA_VERSION;
  info.weight_type = TypeName(model_->language->weight_type());
  info.chat_family = std::string(model_->chat->family());
  info.default_policy = config.engine.default_policy;
  info.default_budget = FormatBudget(config.engine.default_budget);
  info.default_entry_type = TypeName(config.engine.default_entry_type);
  info.pool_bytes = config.engine.pool_bytes;
  AddInfoMetrics(*registry_, info);
  registry_->SampleGauge("weights_bytes", "Memory of the packed weights.",
                         [model = model_] { return static_cast<double>(model->weight_bytes); });
  registry_->SampleGauge("image_cache_bytes", "Memory of stored pictures.", [rpc = rpc_.get()] {
    return static_cast<double>(rpc->image_store_bytes());
  });
  registry_->SampleGauge("process_resident_memory_bytes", "Resident memory of the process.",
                         ProcessResidentBytes);
  if (config.metrics_listen.empty()) return absl::OkStatus();
  auto port = registry_->Expose(config.metrics_listen);
  if (!port.ok()) return port.status();
  metrics_port_ = *port;
  return absl::OkStatus();
}

Runtime::~Runtime() { Stop(std::chrono::milliseconds(0)); }

void Runtime::Stop(std::chrono::milliseconds grace) {
  if (std::exchange(stopped_, true)) return;
  if (rpc_ != nullptr) {
    rpc_->StopServing();
    const bool drained = engine_->Drain(grace);
    rpc_->Shutdown(drained ? kFlushTime : std::chrono::milliseconds(0));
  }
  if (registry_ != nullptr) registry_->StopExposing();
}

}  // namespace concertina
