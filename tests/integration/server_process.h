#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/admin.h"
#include "client/client.h"
#include "tests/integration/child_process.h"

namespace concertina::testing {

// concertina-server as a child process on free loopback ports, those of metrics and administration
// included. Owned by the
// thread that started it; the getters are thread-safe.
class ServerProcess {
 public:
  // Returns once it answers calls; DEADLINE_EXCEEDED or INTERNAL with its log if it never does.
  static absl::StatusOr<std::unique_ptr<ServerProcess>> Start(std::vector<std::string> arguments);
  // Stops it without grace if it still runs.
  ~ServerProcess();

  const std::string& target() const { return target_; }
  std::unique_ptr<client::Client> Connect() const { return client::Client::Connect(target_); }
  std::unique_ptr<client::Admin> ConnectAdmin() const {
    return client::Admin::Connect(admin_target_);
  }
  std::string Log() const { return ReadWholeFile(log_path_); }
  ChildProcess& process() { return *process_; }

  // The page /metrics; empty if it cannot be had.
  std::string Metrics() const;
  // Value of the series `name` (without the prefix "concertina_") whose labels contain `label`; -1
  // if there is none.
  double Metric(const std::string& name, const std::string& label = "") const;
  // Value of a gauge once it is `expected`, or after 20 seconds whatever it is then: the engine
  // publishes gauges after the replies of a step.
  double Gauge(const std::string& name, double expected) const;

 private:
  ServerProcess() = default;
  absl::Status WaitUntilReady(const std::string& port_path);

  std::string log_path_;
  std::string target_, admin_target_;
  int metrics_port_ = 0;
  std::unique_ptr<ChildProcess> process_;
};

// Flags for the bundled model, deterministic: f32 weights and cache.
std::vector<std::string> BundledF32();

// Flags for the tiny LLaVA of the golden fixtures: loads in milliseconds, says nonsense.
std::vector<std::string> TinyLlava(const std::string& pool_bytes = "16MiB");

// Runs the command line against `server`.
CommandResult RunCli(const ServerProcess& server, std::vector<std::string> arguments,
                     const std::string& input = "",
                     std::chrono::milliseconds limit = std::chrono::seconds(300));

// Token ids of raw text; empty on an error.
std::vector<int32_t> Tokenize(client::Client& client, const std::string& text);

// The first words of the Apache License that make `tokens` tokens, starting at byte `offset`; words
// of a real text, so that the model attends to them as it does in use.
std::string TextOfTokens(client::Client& client, int tokens, size_t offset = 0);

// tests/goldens/bundled-model/images/scene`index`.
std::string SceneImage(int index);

}  // namespace concertina::testing
