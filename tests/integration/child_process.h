#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace concertina::testing {

// A program run as a child. It is reaped at the latest when this object goes, and the kernel kills
// it should the test itself be killed. Owned by one thread, the one that started it.
class ChildProcess {
 public:
  // Runs `arguments` (the program's path first). Standard input is read from the file
  // `input_path`, output and errors are written to files, one after the other if they are the same.
  ChildProcess(std::vector<std::string> arguments, const std::string& input_path,
               const std::string& output_path, const std::string& error_path);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  void Signal(int signal);
  // From now on its address space may grow by this much only; nothing lifts the limit.
  void LimitGrowth(std::optional<int64_t> bytes);
  // Whether it has not ended yet.
  bool IsRunning();
  // Exit code, 1000 + signal if it was killed, or nothing if it runs on after `limit`.
  std::optional<int> WaitForExit(std::chrono::milliseconds limit);

 private:
  pid_t pid_ = 0;
  std::optional<int> exit_code_;
};

// What a command printed and how it ended.
struct CommandResult {
  std::optional<int> exit_code;  // none: it did not end in time and was killed
  std::string output;
  std::string errors;
};

// Runs a program to its end with `input` on its standard input.
CommandResult RunCommand(const std::vector<std::string>& arguments, const std::string& input = "",
                         std::chrono::milliseconds limit = std::chrono::seconds(120));

// A new path in the temporary folder.
std::string TemporaryPath(const std::string& name);

// The bytes of a file, empty if it cannot be read.
std::string ReadWholeFile(const std::string& path);

}  // namespace concertina::testing
