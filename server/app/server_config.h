#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "models/kernels/matrix.h"
#include "server/engine/engine.h"
#include "server/rpc/limits.h"

namespace concertina {

enum class LogFormat { kText, kJson };

// Everything an operator chooses. Each flag can also be given through the environment as
// CONCERTINA_<FLAG> (CONCERTINA_POOL_BYTES=2GiB); a flag on the command line wins.
struct ServerConfig {
  // --model: a .gguf file or a Hugging Face folder. Default: the bundled model.
  std::string model;
  // --vision: adapter folder of a GGUF model, "none" for text only. Default: the bundled adapter
  // with the bundled model, none with any other.
  std::string vision;
  // --model-name: what GetModel and the metrics call it. Default: name of the file or folder.
  std::string model_name;
  // --chat-family: needed when the model's chat template is not one we know.
  std::string chat_family;
  // --weights: type the matrices are held in. auto: bf16 where the CPU has fast bf16, else f32.
  MatrixType weights = MatrixType::kF32;

  // --listen: gRPC, host:port. Port 0 takes a free one.
  std::string listen = "127.0.0.1:50051";
  // --metrics-listen: Prometheus, host:port. "none" switches it off.
  std::string metrics_listen = "127.0.0.1:9464";
  // --port-file: the gRPC port is written here once calls are answered.
  std::string port_file;

  // --kv (auto: as the weights), --pool-bytes, --policy, --budget, --max-sessions, --max-tokens (of
  // an answer whose request names none), --threads (0: all cores).
  EngineOptions engine;
  RpcLimits limits;

  // --grace-period: seconds turns in flight may go on after SIGTERM.
  std::chrono::milliseconds grace_period{30'000};
  // --log-format, --log-level.
  LogFormat log_format = LogFormat::kText;
  std::string log_level = "info";
};

struct ParsedArguments {
  // Set when the process should end with this code: --help, --version or a wrong flag.
  std::optional<int> exit_code;
  // What to print then: to stdout with code 0, else to stderr.
  std::string message;
  ServerConfig config;
};

// Reads flags and environment. Never throws.
ParsedArguments ParseArguments(int argc, const char* const* argv);

// Whether this CPU multiplies bf16 in hardware (avx512_bf16).
bool HasFastBf16();

}  // namespace concertina
