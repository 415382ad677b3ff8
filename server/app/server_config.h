#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "models/bundle/model.h"
#include "models/tuning/decide.h"
#include "server/engine/engine.h"
#include "server/rpc/limits.h"

namespace concertina {

enum class LogFormat { kText, kJson };

// Everything an operator chooses; docs/operations.md and settings.cpp list the names. What the
// machine decides ("auto") is decided here.
struct ServerConfig {
  std::string model;        // a .gguf file or a Hugging Face folder
  std::string vision;       // adapter folder of a GGUF model; empty: text only
  std::string model_name;   // what GetModel and the metrics call it; empty: the file's name
  std::string chat_family;  // needed when the model's chat template is not one we know
  std::string device = kHostDevice;  // of the language model: ModelOptions::device
  WeightSettings weights;            // what is left open is decided when the model is loaded

  // host:port; port 0 takes a free one; empty switches off.
  std::string listen = "127.0.0.1:50051";
  std::string admin_listen = "127.0.0.1:50052";
  std::string metrics_listen = "127.0.0.1:9464";
  std::string port_file;  // the gRPC port is written here once calls are answered

  EngineOptions engine;
  RpcLimits limits;

  std::chrono::milliseconds grace_period{30'000};  // of turns in flight after SIGTERM
  LogFormat log_format = LogFormat::kText;
  std::string log_level = "info";
};

struct ParsedArguments {
  // Set when the process should end with this code: --help, --version, --print-config or a wrong
  // setting.
  std::optional<int> exit_code;
  // What to print then: to stdout with code 0, else to stderr.
  std::string message;
  // Worth a line in the log, but no reason not to start.
  std::vector<std::string> warnings;
  bool print_memory = false;  // --print-memory: load the model, print the plan, end
  ServerConfig config;
};

// Reads file (--config), environment and flags; of the same setting the last of these three counts,
// but each must be valid. Never throws.
ParsedArguments ParseArguments(int argc, const char* const* argv);

}  // namespace concertina
