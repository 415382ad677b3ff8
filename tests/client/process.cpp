#include "tests/client/process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <fstream>
#include <sstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

extern char** environ;

namespace concertina::testing {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kWait{60};

pid_t Spawn(const std::string& target, const std::vector<std::string>& arguments,
            posix_spawn_file_actions_t* actions, posix_spawnattr_t* attributes) {
  std::vector<std::string> words = {CONCERTINA_CLI};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<std::string> variables = {absl::StrCat("CONCERTINA_TARGET=", target), "TERM=xterm"};
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string text = *variable;
    if (text.starts_with("CONCERTINA_TARGET=") || text.starts_with("TERM=")) continue;
    variables.push_back(text);
  }
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::vector<char*> envp;
  for (auto& variable : variables) envp.push_back(variable.data());
  envp.push_back(nullptr);
  pid_t pid = -1;
  EXPECT_EQ(posix_spawn(&pid, argv[0], actions, attributes, argv.data(), envp.data()), 0);
  return pid;
}

int ExitCode(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

std::string Contents(const std::string& path) {
  std::ostringstream out;
  out << std::ifstream(path, std::ios::binary).rdbuf();
  return out.str();
}

}  // namespace

ProcessResult RunCli(const std::string& target, const std::vector<std::string>& arguments,
                     const std::string& input) {
  static std::atomic<int> count{0};
  const std::string base =
      absl::StrCat(::testing::TempDir(), "concertina_cli_", getpid(), "_", count++);
  std::ofstream(base + ".in", std::ios::binary) << input;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, (base + ".in").c_str(), O_RDONLY, 0);
  const int flags = O_WRONLY | O_CREAT | O_TRUNC;
  posix_spawn_file_actions_addopen(&actions, 1, (base + ".out").c_str(), flags, 0600);
  posix_spawn_file_actions_addopen(&actions, 2, (base + ".err").c_str(), flags, 0600);
  const pid_t pid = Spawn(target, arguments, &actions, nullptr);
  posix_spawn_file_actions_destroy(&actions);
  int status = 0;
  waitpid(pid, &status, 0);
  ProcessResult result{ExitCode(status), Contents(base + ".out"), Contents(base + ".err")};
  for (const char* suffix : {".in", ".out", ".err"}) unlink((base + suffix).c_str());
  return result;
}

TerminalProcess::TerminalProcess(const std::string& target,
                                 const std::vector<std::string>& arguments) {
  terminal_ = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  EXPECT_GE(terminal_, 0);
  EXPECT_EQ(grantpt(terminal_), 0);
  EXPECT_EQ(unlockpt(terminal_), 0);
  std::array<char, 128> name{};
  EXPECT_EQ(ptsname_r(terminal_, name.data(), name.size()), 0);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  // The first terminal a session's leader opens becomes the one whose Ctrl-C reaches it.
  posix_spawn_file_actions_addopen(&actions, 0, name.data(), O_RDWR, 0);
  posix_spawn_file_actions_adddup2(&actions, 0, 1);
  posix_spawn_file_actions_adddup2(&actions, 0, 2);
  pid_ = Spawn(target, arguments, &actions, &attributes);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
}

TerminalProcess::~TerminalProcess() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  close(terminal_);
}

void TerminalProcess::Type(const std::string& keys) {
  EXPECT_EQ(write(terminal_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
}

bool TerminalProcess::ReadMore() {
  pollfd fd{terminal_, POLLIN, 0};
  if (poll(&fd, 1, 20) <= 0) return false;
  std::array<char, 4096> bytes{};
  const ssize_t count = read(terminal_, bytes.data(), bytes.size());
  if (count <= 0) return false;
  output_.append(bytes.data(), static_cast<size_t>(count));
  return true;
}

bool TerminalProcess::WaitFor(const std::string& text) {
  const auto give_up = Clock::now() + kWait;
  while (Clock::now() < give_up) {
    const size_t found = output_.find(text, seen_);
    if (found != std::string::npos) {
      seen_ = found + text.size();
      return true;
    }
    ReadMore();
  }
  return false;
}

bool TerminalProcess::WaitForPrompt() {
  if (!WaitFor("> ")) return false;
  const auto give_up = Clock::now() + kWait;
  while (Clock::now() < give_up) {
    termios settings{};
    if (tcgetattr(terminal_, &settings) == 0 && (settings.c_lflag & ICANON) == 0) return true;
    ReadMore();
  }
  return false;
}

int TerminalProcess::WaitForExit() {
  const auto give_up = Clock::now() + kWait;
  while (Clock::now() < give_up) {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = -1;
      while (ReadMore()) {
      }
      return ExitCode(status);
    }
    if (!ReadMore()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return -1;
}

}  // namespace concertina::testing
