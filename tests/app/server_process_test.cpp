// The program itself: starts, serves, stops on signals.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "grpcpp/create_channel.h"
#include "tests/support/server/in_process_server.h"

namespace concertina::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// concertina-server as a child process; killed at the latest when the test ends.
class ServerProcess {
 public:
  explicit ServerProcess(std::vector<std::string> arguments) {
    port_file_ = ::testing::TempDir() + "port-" + std::to_string(getpid());
    log_file_ = port_file_ + ".log";
    unlink(port_file_.c_str());
    arguments.insert(arguments.begin(), CONCERTINA_SERVER);
    for (const char* argument : {"--listen", "127.0.0.1:0", "--metrics-listen", "none",
                                 "--admin-listen", "none", "--port-file"}) {
      arguments.emplace_back(argument);
    }
    arguments.push_back(port_file_);
    pid_ = fork();
    if (pid_ != 0) return;
    const int log = open(log_file_.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600);
    dup2(log, STDERR_FILENO);
    dup2(log, STDOUT_FILENO);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    execv(CONCERTINA_SERVER, argv.data());
    _exit(127);
  }
  ~ServerProcess() {
    if (exit_code_ < 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    unlink(port_file_.c_str());
  }

  // 0 if it is not ready within 30 seconds.
  int WaitForPort() {
    for (int i = 0; i < 3000; ++i) {
      int port = 0;
      if (std::ifstream(port_file_) >> port) return port;
      std::this_thread::sleep_for(milliseconds(10));
    }
    return 0;
  }
  void Signal(int signal) { kill(pid_, signal); }
  int WaitForExit() {
    int status = 0;
    waitpid(pid_, &status, 0);
    exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
    return exit_code_;
  }
  std::string Log() { return ReadFileOrDie(log_file_); }

 private:
  std::string port_file_;
  std::string log_file_;
  pid_t pid_ = 0;
  int exit_code_ = -1;
};

std::vector<std::string> TinyModel() {
  return {"--model",      CONCERTINA_SOURCE_DIR "/tests/goldens/llava15-tiny",
          "--weights",    "f32",
          "--pool-bytes", "16MiB",
          "--threads",    "1"};
}

TEST(ServerProcessTest, ServesAndStopsOnSigterm) {
  ServerProcess process(TinyModel());
  const int port = process.WaitForPort();
  ASSERT_NE(port, 0) << process.Log();
  const auto channel =
      grpc::CreateChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials());
  const auto stub = v1::InferenceService::NewStub(channel);
  const std::string id = OpenOrDie(*stub);
  const std::string secret = "a very private question";
  EXPECT_TRUE(RunTurn(*stub, TextTurn(id, secret, 4)).status.ok());
  process.Signal(SIGTERM);
  EXPECT_EQ(process.WaitForExit(), 0);
  const std::string log = process.Log();
  EXPECT_NE(log.find("listening on 127.0.0.1:" + std::to_string(port)), std::string::npos) << log;
  EXPECT_NE(log.find("session=" + id), std::string::npos) << log;
  EXPECT_EQ(log.find(secret), std::string::npos) << log;
}

TEST(ServerProcessTest, LogsJsonLines) {
  std::vector<std::string> arguments = TinyModel();
  arguments.insert(arguments.end(), {"--log-format", "json"});
  ServerProcess process(arguments);
  ASSERT_NE(process.WaitForPort(), 0) << process.Log();
  process.Signal(SIGINT);
  EXPECT_EQ(process.WaitForExit(), 0);
  std::istringstream lines(process.Log());
  std::string line;
  int count = 0;
  for (; std::getline(lines, line); ++count) {
    EXPECT_EQ(line.front(), '{') << line;
    EXPECT_EQ(line.back(), '}') << line;
  }
  EXPECT_GE(count, 3);
}

TEST(ServerProcessTest, AMissingModelIsOneClearLine) {
  ServerProcess process({"--model", "/nonexistent/model.gguf"});
  EXPECT_EQ(process.WaitForExit(), 1);
  EXPECT_NE(process.Log().find("/nonexistent/model.gguf"), std::string::npos) << process.Log();
}

TEST(ServerProcessTest, AWrongFlagIsUsage) {
  ServerProcess process({"--budget", "7"});
  EXPECT_EQ(process.WaitForExit(), 2);
}

}  // namespace
}  // namespace concertina::testing
