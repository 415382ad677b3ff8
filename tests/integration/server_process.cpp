#include "tests/integration/server_process.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace concertina::testing {
namespace {

using std::chrono::milliseconds;

constexpr std::chrono::seconds kStartLimit{90};
constexpr std::chrono::seconds kStopLimit{30};
constexpr std::chrono::seconds kGaugeLimit{20};

// The number after `prefix` in the log; 0 if it is not there.
int NumberAfter(const std::string& text, const std::string& prefix) {
  const size_t at = text.find(prefix);
  return at == std::string::npos ? 0 : std::atoi(text.c_str() + at + prefix.size());
}

std::string HttpGet(int port, const std::string& path) {
  const int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (connect(file, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    const std::string request = "GET " + path + " HTTP/1.0\r\nHost: localhost\r\n\r\n";
    char buffer[4096];
    if (send(file, request.data(), request.size(), MSG_NOSIGNAL) > 0) {
      for (ssize_t n; (n = recv(file, buffer, sizeof(buffer), 0)) > 0;) {
        answer.append(buffer, static_cast<size_t>(n));
      }
    }
  }
  close(file);
  const size_t body = answer.find("\r\n\r\n");
  return body == std::string::npos ? "" : answer.substr(body + 4);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ServerProcess>> ServerProcess::Start(
    std::vector<std::string> arguments) {
  std::unique_ptr<ServerProcess> server(new ServerProcess);
  server->log_path_ = TemporaryPath("server.log");
  const std::string port_path = TemporaryPath("server.port");
  arguments.insert(arguments.begin(), CONCERTINA_SERVER);
  arguments.insert(arguments.end(), {"--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
                                     "--metrics-listen", "127.0.0.1:0", "--port-file", port_path});
  server->process_ =
      std::make_unique<ChildProcess>(arguments, "/dev/null", server->log_path_, server->log_path_);
  const absl::Status status = server->WaitUntilReady(port_path);
  unlink(port_path.c_str());
  if (!status.ok()) return status;
  return server;
}

absl::Status ServerProcess::WaitUntilReady(const std::string& port_path) {
  const auto end = std::chrono::steady_clock::now() + kStartLimit;
  while (std::chrono::steady_clock::now() < end) {
    int port = 0;
    if (std::ifstream(port_path) >> port) target_ = absl::StrCat("127.0.0.1:", port);
    metrics_port_ = NumberAfter(Log(), "metrics on port ");
    admin_target_ = absl::StrCat("127.0.0.1:", NumberAfter(Log(), "admin on 127.0.0.1:"));
    if (!target_.empty() && metrics_port_ != 0) return absl::OkStatus();
    if (!process_->IsRunning()) return absl::InternalError("the server ended: " + Log());
    std::this_thread::sleep_for(milliseconds(10));
  }
  return absl::DeadlineExceededError("the server is not ready: " + Log());
}

ServerProcess::~ServerProcess() {
  if (process_ != nullptr && process_->IsRunning()) {
    process_->Signal(SIGTERM);
    process_->WaitForExit(kStopLimit);
  }
  process_.reset();  // kills it if it runs on
  unlink(log_path_.c_str());
}

std::string ServerProcess::Metrics() const { return HttpGet(metrics_port_, "/metrics"); }

double ServerProcess::Metric(const std::string& name, const std::string& label) const {
  std::istringstream lines(Metrics());
  const std::string start = "concertina_" + name + "{";
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind(start, 0) != 0 || line.find(label) == std::string::npos) continue;
    return std::atof(line.c_str() + line.rfind(' '));
  }
  return -1;
}

double ServerProcess::Gauge(const std::string& name, double expected) const {
  const auto end = std::chrono::steady_clock::now() + kGaugeLimit;
  double value = Metric(name);
  while (value != expected && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(milliseconds(10));
    value = Metric(name);
  }
  return value;
}

std::vector<std::string> BundledF32() { return {"--weights", "f32", "--pool-bytes", "1GiB"}; }

std::vector<std::string> TinyLlava(const std::string& pool_bytes) {
  return {"--model",      CONCERTINA_SOURCE_DIR "/tests/goldens/llava15-tiny",
          "--weights",    "f32",
          "--pool-bytes", pool_bytes,
          "--threads",    "1"};
}

CommandResult RunCli(const ServerProcess& server, std::vector<std::string> arguments,
                     const std::string& input, std::chrono::milliseconds limit) {
  arguments.insert(arguments.begin() + 1, {"--target", server.target()});
  arguments.insert(arguments.begin(), CONCERTINA_CLI);
  return RunCommand(arguments, input, limit);
}

std::vector<int32_t> Tokenize(client::Client& client, const std::string& text) {
  v1::TokenizeRequest request;
  request.set_text(text);
  const auto tokens = client.Tokenize(request);
  if (!tokens.ok()) return {};
  return {tokens->ids().begin(), tokens->ids().end()};
}

std::string TextOfTokens(client::Client& client, int tokens, size_t offset) {
  const std::string license = ReadWholeFile(CONCERTINA_SOURCE_DIR "/LICENSE").substr(offset);
  v1::TokenizeRequest request;
  request.set_text(license);
  const auto tokenised = client.Tokenize(request);
  std::string text;
  if (!tokenised.ok()) return text;
  for (int i = 0; i < std::min(tokens, tokenised->pieces_size()); ++i) {
    text += tokenised->pieces(i);
  }
  return text;
}

std::string SceneImage(int index) {
  const char* const extension = index % 2 == 0 ? ".jpg" : ".png";
  return absl::StrCat(CONCERTINA_SOURCE_DIR, "/tests/goldens/bundled-model/images/scene", index,
                      extension);
}

}  // namespace concertina::testing
