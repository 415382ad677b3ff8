#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace concertina::testing {

struct ProcessResult {
  int exit_code = -1;  // 128 + the signal if one ended it
  std::string out;
  std::string err;
};

// Runs `concertina` with CONCERTINA_TARGET set and `input` as its standard input, to its end.
ProcessResult RunCli(const std::string& target, const std::vector<std::string>& arguments,
                     const std::string& input = "");

// `concertina` in a terminal of its own, as in a person's hands.
class TerminalProcess {
 public:
  TerminalProcess(const std::string& target, const std::vector<std::string>& arguments);
  ~TerminalProcess();  // kills it if it still runs
  TerminalProcess(const TerminalProcess&) = delete;
  TerminalProcess& operator=(const TerminalProcess&) = delete;

  void Type(const std::string& keys);
  // Waits until `text` has appeared in what was printed since the last call that found something.
  bool WaitFor(const std::string& text);
  // Waits for the chat's prompt, and until its line editor has taken the terminal over: keys typed
  // in between would be edited by the kernel.
  bool WaitForPrompt();
  // Waits for the end: the exit code, -1 if it goes on.
  int WaitForExit();
  const std::string& output() const { return output_; }

 private:
  bool ReadMore();

  int terminal_ = -1;
  pid_t pid_ = -1;
  std::string output_;
  size_t seen_ = 0;
};

}  // namespace concertina::testing
