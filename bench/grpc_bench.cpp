// Rate of sessions that generate together, as clients of a running server see it: what
// concertina_engine_bench measures as "decode" without gRPC.
//
//   concertina_grpc_bench --target HOST:PORT [--sessions 16] [--depth 64] [--tokens 256]
//
// Prints one JSON object. Nothing else should use the server or the machine.

#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "bench/client/turns.h"
#include "nlohmann/json.hpp"

namespace concertina::bench {
namespace {

struct Flags {
  std::string target = "127.0.0.1:50051";
  std::string text = CONCERTINA_SOURCE_DIR "/LICENSE";
  std::string policy = "concertina";
  double ratio = 0.2;
  int sessions = 16;
  int depth = 64;
  int tokens = 256;
};

absl::StatusOr<nlohmann::json> Measure(const Flags& flags) {
  const auto client = client::Client::Connect(flags.target);
  const auto prompts = MakePrompts(*client, flags.text, flags.sessions, flags.depth);
  if (!prompts.ok()) return prompts.status();
  auto conversations = OpenMany(*client, flags.sessions, flags.policy, flags.ratio);
  if (!conversations.ok()) return conversations.status();
  const auto first = RunTurns(*conversations, *prompts, 1);
  if (!first.ok()) return first.status();
  const std::vector<std::string> more(prompts->size(), "Go on.");
  const auto second = RunTurns(*conversations, more, flags.tokens);
  if (!second.ok()) return second.status();
  return nlohmann::json{{"sessions", flags.sessions},
                        {"tokens", flags.tokens},
                        {"tokens_per_s", RateTogether(ArrivalsOf(*second))}};
}

}  // namespace
}  // namespace concertina::bench

int main(int argc, char** argv) {
  concertina::bench::Flags flags;
  CLI::App app{"Rate of sessions that generate together, over gRPC"};
  app.add_option("--target", flags.target, "HOST:PORT")->capture_default_str();
  app.add_option("--text", flags.text, "File the prompts are cut from")->capture_default_str();
  app.add_option("--policy", flags.policy)->capture_default_str();
  app.add_option("--ratio", flags.ratio)->capture_default_str();
  app.add_option("--sessions", flags.sessions)->check(CLI::Range(1, 64))->capture_default_str();
  app.add_option("--depth", flags.depth)->check(CLI::Range(1, 4096))->capture_default_str();
  app.add_option("--tokens", flags.tokens)->check(CLI::Range(2, 4096))->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  const auto report = concertina::bench::Measure(flags);
  if (!report.ok()) {
    std::cerr << report.status() << '\n';
    return 1;
  }
  std::cout << report->dump() << '\n';
  return 0;
}
