#include "server/app/server_config.h"

#include <CLI/CLI.hpp>
#include <cctype>
#include <sstream>
#include <thread>

#include "cache/policies/policy.h"
#include "server/app/units.h"

namespace concertina {
namespace {

constexpr char kNone[] = "none";
constexpr char kAuto[] = "auto";

// Texts of the flags, before they mean anything.
struct RawFlags {
  std::string model;
  std::string vision;
  std::string weights = kAuto;
  std::string kv = kAuto;
  std::string pool_bytes = "1GiB";
  std::string budget = "0.2";
  std::string log_format = "text";
  double grace_seconds = 30;
  int threads = 0;
};

// "--pool-bytes" and "POOL_BYTES": the same setting.
std::string EnvironmentName(const std::string& flag) {
  std::string name = "CONCERTINA_";
  for (const char c : flag.substr(2)) {
    name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return name;
}

template <typename T>
CLI::Option* Add(CLI::App& app, const std::string& flag, T& value, const std::string& help) {
  return app.add_option(flag, value, help)->envname(EnvironmentName(flag))->capture_default_str();
}

// CLI11 takes a text for bad, empty for good.
template <typename Parse>
CLI::Validator Parses(const Parse& parse) {
  return CLI::Validator(
      [parse](std::string& text) {
        const auto parsed = parse(text);
        return parsed.ok() ? std::string() : std::string(parsed.status().message());
      },
      "");
}

void AddModelFlags(CLI::App& app, RawFlags& raw, ServerConfig& config) {
  Add(app, "--model", raw.model,
      "GGUF file or Hugging Face folder; the bundled model if not given");
  Add(app, "--vision", raw.vision, "Vision adapter folder of a GGUF model, or \"none\"");
  Add(app, "--model-name", config.model_name, "Name to serve the model under");
  Add(app, "--chat-family", config.chat_family, "Chat family, for templates that are not known");
  Add(app, "--weights", raw.weights, "Type of the weights")
      ->check(CLI::IsMember({kAuto, "f32", "bf16"}));
}

void AddCacheFlags(CLI::App& app, RawFlags& raw, ServerConfig& config) {
  Add(app, "--kv", raw.kv, "Type of cached keys and values")
      ->check(CLI::IsMember({kAuto, "f32", "bf16"}));
  Add(app, "--pool-bytes", raw.pool_bytes, "Size of the cache pool")->check(Parses(ParseBytes));
  Add(app, "--policy", config.engine.default_policy, "Cache policy of sessions that name none")
      ->check(Parses([](const std::string& name) { return MakePolicy(name); }));
  Add(app, "--budget", raw.budget, "Cache budget of sessions that name none: 0.2, 256t or 64MiB")
      ->check(Parses(ParseBudgetText));
  Add(app, "--max-sessions", config.engine.max_sessions, "Open sessions")
      ->check(CLI::Range(1, 1 << 20));
  Add(app, "--max-tokens", config.engine.max_tokens_default,
      "Tokens of an answer when the request names none")
      ->check(CLI::Range(1, config.engine.max_tokens_limit));
}

void AddProcessFlags(CLI::App& app, RawFlags& raw, ServerConfig& config) {
  Add(app, "--listen", config.listen, "host:port of gRPC; port 0 takes a free one");
  Add(app, "--metrics-listen", config.metrics_listen, "host:port of /metrics, or \"none\"");
  Add(app, "--port-file", config.port_file, "File to write the gRPC port to when ready");
  Add(app, "--threads", raw.threads, "Compute threads; 0 takes all cores")
      ->check(CLI::Range(0, 1024));
  Add(app, "--grace-period", raw.grace_seconds, "Seconds for turns in flight after SIGTERM")
      ->check(CLI::Range(0.0, 3600.0));
  Add(app, "--log-format", raw.log_format, "text or json")->check(CLI::IsMember({"text", "json"}));
  Add(app, "--log-level", config.log_level, "debug, info, warning or error")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}));
}

// REQUIRES: every text passed its check.
void Interpret(const RawFlags& raw, ServerConfig& config) {
  const bool bundled = raw.model.empty();
  config.model = bundled ? CONCERTINA_BUNDLED_MODEL : raw.model;
  config.vision = raw.vision.empty() && bundled ? CONCERTINA_BUNDLED_VISION : raw.vision;
  if (config.vision == kNone) config.vision.clear();
  if (config.metrics_listen == kNone) config.metrics_listen.clear();
  const bool bf16 = raw.weights == kAuto ? HasFastBf16() : raw.weights == "bf16";
  config.weights = bf16 ? MatrixType::kBf16 : MatrixType::kF32;
  const bool kv_bf16 = raw.kv == kAuto ? bf16 : raw.kv == "bf16";
  config.engine.default_entry_type = kv_bf16 ? EntryType::kBf16 : EntryType::kF32;
  config.engine.pool_bytes = *ParseBytes(raw.pool_bytes);
  config.engine.default_budget = *ParseBudgetText(raw.budget);
  config.engine.threads = raw.threads > 0
                              ? raw.threads
                              : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  config.grace_period = std::chrono::milliseconds(static_cast<int64_t>(raw.grace_seconds * 1000));
  config.log_format = raw.log_format == "json" ? LogFormat::kJson : LogFormat::kText;
}

}  // namespace

bool HasFastBf16() { return __builtin_cpu_supports("avx512bf16") != 0; }

ParsedArguments ParseArguments(int argc, const char* const* argv) {
  ParsedArguments parsed;
  RawFlags raw;
  CLI::App app(
      "Serves a vision-language model over gRPC; every conversation owns an elastic KV cache.",
      "concertina-server");
  app.set_version_flag("--version", CONCERTINA_VERSION);
  try {
    AddModelFlags(app, raw, parsed.config);
    AddCacheFlags(app, raw, parsed.config);
    AddProcessFlags(app, raw, parsed.config);
    app.parse(argc, argv);
    Interpret(raw, parsed.config);
  } catch (const CLI::ParseError& error) {
    std::ostringstream out;
    std::ostringstream err;
    parsed.exit_code = app.exit(error, out, err) == 0 ? 0 : 2;
    parsed.message = out.str() + err.str();
  }
  return parsed;
}

}  // namespace concertina
