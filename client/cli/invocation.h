#pragma once

#include <functional>
#include <memory>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "client/client.h"

namespace concertina::cli {

// Exit codes of `concertina`.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;       // refused, failed, or not as promised (demo)
inline constexpr int kExitUsage = 2;        // bad arguments or an unreadable file
inline constexpr int kExitUnreachable = 3;  // no server there, or it is not serving
inline constexpr int kExitInterrupted = 130;

// What one run of the command line was asked for.
struct Invocation {
  std::string target;    // empty: the environment's, or the usual one
  double timeout_s = 0;  // of every call; 0: each call's own
  int retries = 0;
  bool json = false;
  std::function<int()> run;  // set by the subcommand given

  std::string Target() const;
  std::string AdminTarget() const;
  client::ClientOptions Options() const;
  std::unique_ptr<client::Client> Connect() const {
    return client::Client::Connect(Target(), Options());
  }
};

// Prints an error, as one line on stderr and with --json also as an object on stdout; returns the
// exit code for it.
int Fail(const Invocation& invocation, const absl::Status& status);

// One subcommand each. The invocation outlives the app.
void AddAdmin(CLI::App& app, Invocation& invocation);  // admin load, drain, evict
void AddAsk(CLI::App& app, Invocation& invocation);
void AddBench(CLI::App& app, Invocation& invocation);
void AddChat(CLI::App& app, Invocation& invocation);
void AddDemo(CLI::App& app, Invocation& invocation);
void AddEval(CLI::App& app, Invocation& invocation);
void AddScore(CLI::App& app, Invocation& invocation);
void AddServerCommands(CLI::App& app, Invocation& invocation);   // model, health, tokenize
void AddSessionCommands(CLI::App& app, Invocation& invocation);  // sessions, session, fork, close

// All of `concertina`: parses, runs, returns the exit code.
int RunCommandLine(int argc, const char* const* argv);

}  // namespace concertina::cli
