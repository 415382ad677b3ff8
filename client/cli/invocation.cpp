#include "client/cli/invocation.h"

#include <cstdio>
#include <string>

#include "client/cli/json.h"
#include "client/cli/text.h"
#include "client/errors.h"

namespace concertina::cli {
namespace {

constexpr char kFooter[] =
    "Exit codes: 0 done; 1 refused or failed; 2 bad arguments or an unreadable file; 3 no server\n"
    "there or not serving; 130 interrupted.";

// CLI11's texts may have several lines; scripts and people get one.
int UsageError(std::string message) {
  for (char& c : message) {
    if (c == '\n') c = ' ';
  }
  std::fprintf(stderr, "concertina: %s (see concertina --help)\n", message.c_str());
  return kExitUsage;
}

}  // namespace

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
  app.add_option("--target", invocation.target, "The server, HOST:PORT")
      ->envname("CONCERTINA_TARGET")
      ->capture_default_str();
  app.add_flag("--json", invocation.json, "JSON on stdout, for scripts");
  AddChat(app, invocation);
  AddAsk(app, invocation);
  AddDemo(app, invocation);
  AddScore(app, invocation);
  AddSessionCommands(app, invocation);
  AddServerCommands(app, invocation);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help
    return UsageError(error.what());
  }
  return invocation.run();
}

}  // namespace concertina::cli
