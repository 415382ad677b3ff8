#include "client/cli/invocation.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "client/cli/json.h"
#include "client/cli/text.h"
#include "client/errors.h"

namespace concertina::cli {
namespace {

constexpr char kFooter[] =
    "Exit codes: 0 done; 1 refused or failed; 2 bad arguments or an unreadable file; 3 no server\n"
    "there or not serving; 130 interrupted.";

constexpr char kUsualTarget[] = "127.0.0.1:50051";
constexpr char kUsualAdminTarget[] = "127.0.0.1:50052";
constexpr double kLongestTimeout = 86'400;
constexpr int kMostRetries = 4;  // gRPC makes five attempts at most

std::string FromEnvironment(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

// CLI11's texts may have several lines; scripts and people get one.
int UsageError(std::string message) {
  for (char& c : message) {
    if (c == '\n') c = ' ';
  }
  std::fprintf(stderr, "concertina: %s (see concertina --help)\n", message.c_str());
  return kExitUsage;
}

}  // namespace

std::string Invocation::Target() const {
  return target.empty() ? FromEnvironment("CONCERTINA_TARGET", kUsualTarget) : target;
}

std::string Invocation::AdminTarget() const {
  return target.empty() ? FromEnvironment("CONCERTINA_ADMIN_TARGET", kUsualAdminTarget) : target;
}

client::ClientOptions Invocation::Options() const {
  client::ClientOptions options;
  options.retry.max_attempts = 1 + retries;
  if (timeout_s > 0) {
    const std::chrono::milliseconds timeout(static_cast<int64_t>(timeout_s * 1000));
    options.call_timeout = timeout;
    options.open_timeout = timeout;
    options.score_timeout = timeout;
    options.ask_timeout = timeout;
  }
  return options;
}

int Fail(const Invocation& invocation, const absl::Status& status) {
  const std::string line = PrintableText(client::Describe(status));
  std::fprintf(stderr, "concertina: %s\n", line.c_str());
  if (invocation.json) PrintJson({{"error", ToJson(status)}});
  return status.code() == absl::StatusCode::kUnavailable ? kExitUnreachable : kExitFailed;
}

int RunCommandLine(int argc, const char* const* argv) {
  Invocation invocation;
  CLI::App app{"Talks to a concertina server."};
  app.name("concertina");
  app.footer(kFooter);
  app.fallthrough();
  app.require_subcommand(1);
  app.add_option("--target", invocation.target,
                 "The server, HOST:PORT; default $CONCERTINA_TARGET or 127.0.0.1:50051\n"
                 "(admin: $CONCERTINA_ADMIN_TARGET or 127.0.0.1:50052)");
  app.add_option("--timeout", invocation.timeout_s, "Deadline of every call and turn, seconds")
      ->check(CLI::Range(0.001, kLongestTimeout));
  app.add_option("--retries", invocation.retries,
                 "Repeat a call that the server refused for now, when it says to: up to so often")
      ->check(CLI::Range(0, kMostRetries));
  app.add_flag("--json", invocation.json, "JSON on stdout, for scripts");
  AddChat(app, invocation);
  AddAsk(app, invocation);
  AddDemo(app, invocation);
  AddScore(app, invocation);
  AddSessionCommands(app, invocation);
  AddServerCommands(app, invocation);
  AddAdmin(app, invocation);
  AddBench(app, invocation);
  AddEval(app, invocation);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help
    return UsageError(error.what());
  }
  return invocation.run();
}

}  // namespace concertina::cli
