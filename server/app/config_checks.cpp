#include "server/app/config_checks.h"

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/app/setting.h"
#include "server/app/units.h"

namespace concertina {
namespace {

absl::Status Wrong(const std::string& what) { return absl::InvalidArgumentError(what); }

bool IsWildcard(const std::string& host) { return host == "0.0.0.0" || host == "[::]"; }

bool IsLoopback(const std::string& host) {
  return host == "localhost" || host == "[::1]" || host.starts_with("127.");
}

absl::Status CheckAddresses(const ServerConfig& config) {
  using Named = std::pair<const char*, const std::string*>;
  const std::array<Named, 3> addresses{{{"listen", &config.listen},
                                        {"admin-listen", &config.admin_listen},
                                        {"metrics-listen", &config.metrics_listen}}};
  for (size_t i = 0; i < addresses.size(); ++i) {
    for (size_t j = i + 1; j < addresses.size(); ++j) {
      const auto a = ParseAddress(*addresses[i].second);
      const auto b = ParseAddress(*addresses[j].second);
      if (!a.ok() || !b.ok() || a->port != b->port || a->port == 0) continue;
      if (a->host != b->host && !IsWildcard(a->host) && !IsWildcard(b->host)) continue;
      return Wrong(
          absl::StrCat(addresses[j].first, ": port ", b->port, " is that of ", addresses[i].first));
    }
  }
  return absl::OkStatus();
}

// What can be said before LibTorch has looked for the device.
absl::Status CheckDeviceSettings(const ServerConfig& config) {
  if (config.device == kHostDevice) return absl::OkStatus();
  const auto type = config.weights.few;
  if (type != MatrixType::kF32 && type != MatrixType::kBf16) {
    return Wrong(absl::StrCat("weights: f32 or bf16 with device ", config.device));
  }
  if (config.weights.many != type) {
    return Wrong(absl::StrCat("weights-prefill: there is one copy with device ", config.device));
  }
  const EntryType entries = type == MatrixType::kF32 ? EntryType::kF32 : EntryType::kBf16;
  if (config.engine.default_entry_type != entries) {
    return Wrong(absl::StrCat("kv: the type of the weights, with device ", config.device));
  }
  if (config.engine.default_probe_tokens > 0) {
    return Wrong(absl::StrCat("probe-tokens: 0 with device ", config.device));
  }
  if (config.engine.default_image_budget > 0) {
    return Wrong(absl::StrCat("image-budget: 0 with device ", config.device));
  }
  if (config.engine.default_budget.unit == Budget::Unit::kBytes) {
    return Wrong(absl::StrCat("budget: a ratio or tokens, not bytes, with device ", config.device));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckConfig(const ServerConfig& config) {
  const EngineOptions& engine = config.engine;
  if (engine.max_tokens_default > engine.max_tokens_limit) {
    return Wrong(absl::StrCat("max-tokens: ", engine.max_tokens_default,
                              " is more than max-tokens-limit, ", engine.max_tokens_limit));
  }
  if (engine.max_session_transcript_bytes > engine.max_transcript_bytes) {
    return Wrong(absl::StrCat(
        "max-session-transcript-bytes: ", FormatBytes(engine.max_session_transcript_bytes),
        " is more than max-transcript-bytes, ", FormatBytes(engine.max_transcript_bytes)));
  }
  if (config.limits.images.max_bytes > config.limits.image_store_bytes) {
    return Wrong(absl::StrCat("max-image-bytes: ", FormatBytes(config.limits.images.max_bytes),
                              " is more than image-store-bytes, ",
                              FormatBytes(config.limits.image_store_bytes)));
  }
  const Budget& budget = engine.default_budget;
  if (budget.unit == Budget::Unit::kBytes && budget.bytes > engine.pool_bytes) {
    return Wrong(absl::StrCat("budget: ", FormatBudget(budget), " is more than pool-bytes, ",
                              FormatBytes(engine.pool_bytes)));
  }
  const auto policy = MakePolicy(engine.default_policy);
  if (engine.default_entry_type == EntryType::kPacked && policy.ok() && (*policy)->merges()) {
    return Wrong(absl::StrCat("kv: packed entries cannot be merged, as policy ",
                              engine.default_policy, " does"));
  }
  if (absl::Status status = CheckDeviceSettings(config); !status.ok()) return status;
  return CheckAddresses(config);
}

absl::Status CheckAgainstModel(const ServerConfig& config, const LanguageConfig& model,
                               int64_t page_bytes) {
  const int64_t floor = page_bytes * model.layers * model.kv_heads;
  if (config.engine.pool_bytes < floor) {
    return Wrong(absl::StrCat("pool-bytes: ", FormatBytes(config.engine.pool_bytes),
                              " cannot hold one conversation with this model, which takes ", floor,
                              " bytes at least"));
  }
  return absl::OkStatus();
}

std::vector<std::string> ConfigWarnings(const ServerConfig& config) {
  std::vector<std::string> warnings;
  const auto admin = ParseAddress(config.admin_listen);
  if (admin.ok() && !IsLoopback(admin->host)) {
    warnings.push_back(absl::StrCat("admin-listen: ", config.admin_listen,
                                    " asks for no credentials and can be reached from outside"));
  }
  return warnings;
}

}  // namespace concertina
