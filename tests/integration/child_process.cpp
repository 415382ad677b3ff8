#include "tests/integration/child_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <sstream>
#include <thread>

namespace concertina::testing {
namespace {

constexpr std::chrono::milliseconds kPollPause{5};

// Runs in the child of a process with threads: only async-signal-safe calls until exec.
[[noreturn]] void Become(char* const* argv, const int (&files)[3]) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (int i = 0; i < 3; ++i) {
    if (dup2(files[i], i) < 0) _exit(126);
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execv(argv[0], argv);
  _exit(127);
}

int OpenForOutput(const std::string& path) {
  return open(path.c_str(), O_CREAT | O_APPEND | O_WRONLY | O_CLOEXEC, 0600);
}

}  // namespace

ChildProcess::ChildProcess(std::vector<std::string> arguments, const std::string& input_path,
                           const std::string& output_path, const std::string& error_path) {
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const int files[3] = {open(input_path.c_str(), O_RDONLY | O_CLOEXEC), OpenForOutput(output_path),
                        OpenForOutput(error_path)};
  pid_ = fork();
  if (pid_ == 0) Become(argv.data(), files);
  for (const int file : files) close(file);
  if (pid_ < 0) exit_code_ = 126;
}

ChildProcess::~ChildProcess() {
  if (!IsRunning()) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

void ChildProcess::Signal(int signal) {
  if (IsRunning()) kill(pid_, signal);
}

void ChildProcess::LimitGrowth(std::optional<int64_t> bytes) {
  rlimit limit{RLIM_INFINITY, RLIM_INFINITY};
  if (bytes.has_value()) {
    int64_t pages = 0;
    std::ifstream("/proc/" + std::to_string(pid_) + "/statm") >> pages;
    limit.rlim_cur = static_cast<rlim_t>(pages * sysconf(_SC_PAGESIZE) + *bytes);
  }
  prlimit(pid_, RLIMIT_AS, &limit, nullptr);
}

bool ChildProcess::IsRunning() {
  int status = 0;
  if (exit_code_.has_value() || waitpid(pid_, &status, WNOHANG) == 0) return !exit_code_;
  exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  return false;
}

std::optional<int> ChildProcess::WaitForExit(std::chrono::milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (IsRunning() && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(kPollPause);
  }
  return exit_code_;
}

CommandResult RunCommand(const std::vector<std::string>& arguments, const std::string& input,
                         std::chrono::milliseconds limit) {
  const std::string in = TemporaryPath("in"), out = TemporaryPath("out"),
                    err = TemporaryPath("err");
  std::ofstream(in, std::ios::binary) << input;
  CommandResult result;
  {
    ChildProcess child(arguments, in, out, err);
    result.exit_code = child.WaitForExit(limit);
  }
  result.output = ReadWholeFile(out);
  result.errors = ReadWholeFile(err);
  for (const std::string& path : {in, out, err}) unlink(path.c_str());
  return result;
}

std::string TemporaryPath(const std::string& name) {
  static std::atomic<int> count{0};
  return ::testing::TempDir() + "concertina-" + std::to_string(getpid()) + "-" +
         std::to_string(count++) + "-" + name;
}

std::string ReadWholeFile(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

}  // namespace concertina::testing
