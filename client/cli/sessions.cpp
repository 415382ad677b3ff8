#include <cstdio>
#include <string>
#include <vector>

#include "client/cli/invocation.h"
#include "client/cli/json.h"
#include "client/cli/text.h"

namespace concertina::cli {
namespace {

int ListSessions(const Invocation& invocation) {
  const auto sessions = invocation.Connect()->ListSessions();
  if (!sessions.ok()) return Fail(invocation, sessions.status());
  if (invocation.json) {
    nlohmann::json out = nlohmann::json::array();
    for (const auto& session : *sessions) out.push_back(ToJson(session));
    PrintJson(out);
    return kExitOk;
  }
  if (sessions->empty()) {
    std::printf("no open sessions\n");
    return kExitOk;
  }
  std::printf("%-36s  %-7s  %5s  %-11s  %10s  %10s  %10s\n", "session", "state", "turns", "policy",
              "seen", "entries", "used");
  for (const auto& session : *sessions) {
    std::printf("%-36s  %-7s  %5d  %-11s  %10s  %10s  %10s\n",
                PrintableText(session.session_id()).c_str(), StateName(session), session.turns(),
                PrintableText(session.policy().name()).c_str(),
                FormatCount(session.cache().tokens_seen()).c_str(),
                FormatCount(session.cache().live_entries()).c_str(),
                FormatBytes(session.cache().used_bytes()).c_str());
  }
  return kExitOk;
}

int ShowSession(const Invocation& invocation, const std::string& id) {
  const auto session = invocation.Connect()->GetSession(id);
  if (!session.ok()) return Fail(invocation, session.status());
  if (invocation.json) {
    PrintJson(ToJson(*session));
  } else {
    std::fputs(SessionText(*session).c_str(), stdout);
  }
  return kExitOk;
}

int ForkSession(const Invocation& invocation, const std::string& id) {
  const auto session = invocation.Connect()->ForkSession(id);
  if (!session.ok()) return Fail(invocation, session.status());
  if (invocation.json) {
    PrintJson(ToJson(*session));
  } else {
    std::printf("%s\n", PrintableText(session->session_id()).c_str());
  }
  return kExitOk;
}

int CloseSessions(const Invocation& invocation, const std::vector<std::string>& ids) {
  const auto server = invocation.Connect();
  int exit_code = kExitOk;
  nlohmann::json out = nlohmann::json::array();
  for (const std::string& id : ids) {
    const auto existed = server->CloseSession(id);
    if (!existed.ok()) {
      exit_code = Fail(invocation, existed.status());
      continue;
    }
    out.push_back({{"session_id", id}, {"existed", *existed}});
    if (!invocation.json) std::printf("%s %s\n", id.c_str(), *existed ? "closed" : "was not open");
  }
  if (invocation.json && !out.empty()) PrintJson(out);
  return exit_code;
}

}  // namespace

void AddSessionCommands(CLI::App& app, Invocation& invocation) {
  app.add_subcommand("sessions", "Lists the open sessions")->callback([&invocation] {
    invocation.run = [&invocation] { return ListSessions(invocation); };
  });
  auto* session = app.add_subcommand("session", "Shows one session and its cache");
  session->alias("stats");
  const auto id = std::make_shared<std::string>();
  session->add_option("id", *id, "The session")->required();
  session->callback([&invocation, id] {
    invocation.run = [&invocation, id] { return ShowSession(invocation, *id); };
  });
  auto* fork = app.add_subcommand("fork", "Opens a copy of a session; prints its id");
  const auto original = std::make_shared<std::string>();
  fork->add_option("id", *original, "The session to copy")->required();
  fork->callback([&invocation, original] {
    invocation.run = [&invocation, original] { return ForkSession(invocation, *original); };
  });
  auto* close = app.add_subcommand("close", "Ends sessions and frees their caches");
  const auto ids = std::make_shared<std::vector<std::string>>();
  close->add_option("id", *ids, "The sessions")->required();
  close->callback([&invocation, ids] {
    invocation.run = [&invocation, ids] { return CloseSessions(invocation, *ids); };
  });
}

}  // namespace concertina::cli
