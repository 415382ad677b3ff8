#include "server/app/runtime.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "cache/policies/policy.h"
#include "models/kernels/parallel.h"
#include "models/tuning/weight_types.h"
#include "server/app/config_checks.h"
#include "server/app/units.h"
#include "server/app/weight_text.h"
#include "server/metrics/info_metrics.h"
#include "server/metrics/process_metrics.h"

namespace concertina {
namespace {

// For the last bytes of calls that are over, and for calls that only look.
constexpr std::chrono::milliseconds kFlushTime{500};

std::string TypeName(EntryType type) {
  if (type == EntryType::kF32) return "f32";
  if (type == EntryType::kPacked) return "packed";
  return type == EntryType::kInt8 ? "int8" : "bf16";
}

absl::StatusOr<std::shared_ptr<const Model>> Load(const ServerConfig& config, Log& log) {
  const auto start = std::chrono::steady_clock::now();
  ModelOptions options;
  options.path = config.model;
  options.vision_path = config.vision;
  options.weight_type = config.weights;
  options.device = config.device;
  SetThreads(config.engine.threads);  // types are measured with as many as the engine will have
  options.chat_family = config.chat_family;
  auto model = LoadModel(options);
  if (!model.ok()) return model.status();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  log.Info(absl::StrCat("loaded ", (*model)->name, " in ", took.count(),
                        " s: ", (*model)->weight_bytes >> 20, " MiB of weights"));
  for (const std::string& line : DescribeWeights(**model)) log.Info(line);
  return model;
}

std::string SummariseLimits(const ServerConfig& config) {
  const EngineOptions& engine = config.engine;
  const RpcLimits& limits = config.limits;
  return absl::StrCat(
      "limits: pool=", FormatBytes(engine.pool_bytes),
      " budget=", FormatBudget(engine.default_budget), " sessions=", engine.max_sessions,
      " batch=", engine.max_batch, " queue=", engine.max_queued_turns,
      " queue_timeout=", FormatDuration(engine.max_queue_wait),
      " idle_timeout=", FormatDuration(engine.session_idle_timeout),
      " transcripts=", FormatBytes(engine.max_transcript_bytes), " calls=", limits.max_calls,
      " calls_per_connection=", limits.max_calls_per_connection,
      " image_store=", FormatBytes(limits.image_store_bytes), " threads=", engine.threads);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Runtime>> Runtime::Start(const ServerConfig& config, Log& log,
                                                        std::shared_ptr<const Model> model) {
  std::unique_ptr<Runtime> runtime(new Runtime);
  if (auto status = runtime->StartEngine(config, log, std::move(model)); !status.ok()) {
    return status;
  }
  log.Info(SummariseLimits(config));
  log.Info(SummariseMemoryPlan(runtime->memory_plan_));
  if (auto status = runtime->StartRpc(config, log); !status.ok()) return status;
  if (auto status = runtime->StartAdmin(config, log); !status.ok()) return status;
  if (auto status = runtime->StartMetrics(config); !status.ok()) return status;
  return runtime;
}

absl::StatusOr<MemoryPlan> Runtime::PlanOnly(const ServerConfig& config, Log& log) {
  std::unique_ptr<Runtime> runtime(new Runtime);
  if (auto status = runtime->StartEngine(config, log, nullptr); !status.ok()) return status;
  return runtime->memory_plan_;
}

absl::Status Runtime::StartEngine(const ServerConfig& config, Log& log,
                                  std::shared_ptr<const Model> model) {
  if (model == nullptr) {
    auto loaded = Load(config, log);
    if (!loaded.ok()) return loaded.status();
    model = *std::move(loaded);
  }
  model_ = std::move(model);
  model_name_ = config.model_name.empty() ? model_->name : config.model_name;
  if (auto status = CheckAgainstModel(config, model_->config, PageBytesOf(*model_)); !status.ok()) {
    return status;
  }
  registry_ = std::make_unique<MetricsRegistry>(model_name_);
  rpc_metrics_ = std::make_unique<RpcMetrics>(*registry_);
  const auto clock = std::make_shared<Clock>();
  auto engine_log = std::make_shared<EngineLog>(*registry_, PolicyNames(), log, clock);
  auto engine = Engine::Start(config.engine, model_, std::move(engine_log), clock);
  if (!engine.ok()) return engine.status();
  engine_ = *std::move(engine);
  memory_plan_ = PlanMemory(config, *model_, engine_->workspace_bound_bytes());
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

absl::Status Runtime::StartAdmin(const ServerConfig& config, Log& log) {
  if (AdminServer::IsOff(config.admin_listen)) return absl::OkStatus();
  AdminServerOptions options;
  options.listen = config.admin_listen;
  options.limits = config.limits;
  options.log = [&log](const CallLogEntry& entry) { log.Call(entry); };
  auto admin = AdminServer::Start(std::move(options), *engine_, *rpc_metrics_, *rpc_);
  if (!admin.ok()) return admin.status();
  admin_ = *std::move(admin);
  return absl::OkStatus();
}

absl::Status Runtime::StartMetrics(const ServerConfig& config) {
  InfoLabels info;
  info.version = CONCERTINA_VERSION;
  info.weight_type = PlanName(model_->weights.language);
  info.chat_family = std::string(model_->chat->family());
  info.default_policy = config.engine.default_policy;
  info.default_budget = FormatBudget(config.engine.default_budget);
  info.default_entry_type = TypeName(config.engine.default_entry_type);
  info.pool_bytes = config.engine.pool_bytes;
  AddInfoMetrics(*registry_, info);
  AddProcessMetrics(*registry_);
  AddMemoryMetrics();
  AddLimitMetrics(config);
  if (config.metrics_listen.empty()) return absl::OkStatus();
  auto port = registry_->Expose(config.metrics_listen);
  if (!port.ok()) return port.status();
  metrics_port_ = *port;
  return absl::OkStatus();
}

void Runtime::AddMemoryMetrics() {
  const auto constant = [this](const char* name, const char* help, int64_t bytes) {
    registry_->SampleGauge(name, help, [bytes] { return static_cast<double>(bytes); });
  };
  constant("weights_bytes", "Memory of the packed weights.", model_->weight_bytes);
  registry_->SampleGauge(
      "device_memory_bytes", "Memory in use on an accelerator; 0 without one.",
      [engine = engine_.get()] { return static_cast<double>(engine->gauges().device_bytes); });
  constant("workspace_bound_bytes", "The most that the engine's scratch buffers may take.",
           engine_->workspace_bound_bytes());
  constant("memory_bound_bytes", "The most resident memory this configuration may take.",
           memory_plan_.total_bytes());
  registry_->SampleGauge("image_cache_bytes", "Memory of stored pictures.", [rpc = rpc_.get()] {
    return static_cast<double>(rpc->image_store_bytes());
  });
}

void Runtime::AddLimitMetrics(const ServerConfig& config) {
  const auto limit = [this](const char* name, const char* help, int64_t value) {
    registry_->SampleGauge(name, help, [value] { return static_cast<double>(value); });
  };
  limit("requests_running_limit", "Setting max-batch.", config.engine.max_batch);
  limit("requests_waiting_limit", "Setting max-queued-turns.", config.engine.max_queued_turns);
  limit("sessions_limit", "Setting max-sessions.", config.engine.max_sessions);
  limit("calls_limit", "Setting max-calls.", config.limits.max_calls);
  limit("transcript_limit_bytes", "Setting max-transcript-bytes.",
        config.engine.max_transcript_bytes);
  limit("image_cache_limit_bytes", "Setting image-store-bytes.", config.limits.image_store_bytes);
  registry_->SampleGauge(
      "calls_in_flight", "Calls of InferenceService in flight.",
      [rpc = rpc_.get()] { return static_cast<double>(rpc->calls_in_flight()); });
}

Runtime::~Runtime() { Stop(std::chrono::milliseconds(0)); }

void Runtime::Stop(std::chrono::milliseconds grace) {
  if (std::exchange(stopped_, true)) return;
  if (rpc_ != nullptr) {
    if (admin_ != nullptr) admin_->StopServing();
    rpc_->StopServing();
    const bool drained = engine_->Drain(grace);
    const auto flush = drained ? kFlushTime : std::chrono::milliseconds(0);
    rpc_->Shutdown(flush);
    if (admin_ != nullptr) admin_->Shutdown(std::chrono::milliseconds(0));
  }
  if (registry_ != nullptr) registry_->StopExposing();
}

}  // namespace concertina
