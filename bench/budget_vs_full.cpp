// Measures what a cache budget buys: memory of idle sessions and tokens per second of sessions
// that generate together, against policy "full" on the same server, in turns.
//
//   concertina_budget_vs_full [--target HOST:PORT] [--budget 0.2] [--sessions 8]
//     [--prompt-tokens 900] [--generate 128] [--rounds 3]
//
// Prints one JSON object and a Markdown row. Nothing else should use the server or the machine.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "bench/client/turns.h"
#include "client/client.h"
#include "nlohmann/json.hpp"

namespace concertina {
namespace {

using Seconds = std::chrono::duration<double>;
using Clock = bench::BenchClock;

struct Flags {
  std::string target = "127.0.0.1:50051";
  std::string text = CONCERTINA_SOURCE_DIR "/LICENSE";
  double budget = 0.2;
  int sessions = 8;
  int prompt_tokens = 900;
  int generate = 128;
  int rounds = 3;
};

struct Round {
  double all_per_s = 0;           // generated tokens over the whole time, prefill included
  double decode_per_s = 0;        // in a second, short turn, while every session was generating
  double used_bytes_session = 0;  // mean
};

absl::StatusOr<Round> RunRound(client::Client& client, const Flags& flags,
                               const std::vector<std::string>& prompts, const std::string& policy,
                               double budget) {
  auto conversations = bench::OpenMany(client, flags.sessions, policy, budget);
  if (!conversations.ok()) return conversations.status();
  const auto start = Clock::now();
  const auto first = bench::RunTurns(*conversations, prompts, flags.generate);
  if (!first.ok()) return first.status();
  Round round;
  auto end = start;
  size_t count = 0;
  for (const bench::ClientTurn& trace : *first) {
    end = std::max(end, trace.tokens.back());
    count += trace.tokens.size();
    round.used_bytes_session += static_cast<double>(trace.used_bytes) / flags.sessions;
  }
  round.all_per_s = static_cast<double>(count) / Seconds(end - start).count();
  const std::vector<std::string> more(prompts.size(), "Go on.");
  const auto second = bench::RunTurns(*conversations, more, flags.generate);
  if (!second.ok()) return second.status();
  round.decode_per_s = bench::RateTogether(bench::ArrivalsOf(*second));
  return round;
}

struct Range {
  double min = 0, median = 0, max = 0;
};

Range RangeOf(const std::vector<Round>& rounds, double Round::*member) {
  std::vector<double> values;
  for (const Round& round : rounds) values.push_back(round.*member);
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  const double median =
      values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
  return {values.front(), median, values.back()};
}

nlohmann::json ToJson(const Range& range) {
  return {{"min", range.min}, {"median", range.median}, {"max", range.max}};
}

nlohmann::json ToJson(const std::vector<Round>& rounds) {
  return {{"used_bytes_per_idle_session", rounds.front().used_bytes_session},
          {"tokens_per_s", ToJson(RangeOf(rounds, &Round::all_per_s))},
          {"decode_tokens_per_s", ToJson(RangeOf(rounds, &Round::decode_per_s))}};
}

void Report(const Flags& flags, const v1::GetModelResponse& model, const std::vector<Round>& full,
            const std::vector<Round>& folded) {
  const double fewer = full.front().used_bytes_session / folded.front().used_bytes_session;
  const Range all[] = {RangeOf(full, &Round::all_per_s), RangeOf(folded, &Round::all_per_s)};
  const Range decode[] = {RangeOf(full, &Round::decode_per_s),
                          RangeOf(folded, &Round::decode_per_s)};
  const nlohmann::json report = {
      {"model", model.name()},
      {"weights", model.weight_type()},
      {"budget", flags.budget},
      {"sessions", flags.sessions},
      {"prompt_tokens", flags.prompt_tokens},
      {"generated_tokens", flags.generate},
      {"rounds", flags.rounds},
      {"full", ToJson(full)},
      {"concertina", ToJson(folded)},
      {"times_fewer_bytes", fewer},
      {"times_tokens_per_s", all[1].median / all[0].median},
      {"times_decode_tokens_per_s", decode[1].median / decode[0].median}};
  std::printf("%s\n", report.dump(2).c_str());
  const double mib = 1024.0 * 1024.0;
  std::printf(
      "| %s | %.2f → %.2f | %.2f× | %.1f (%.1f) → %.1f (%.1f) | %.2f× | %.1f (%.1f) → %.1f "
      "(%.1f) | %.2f× |\n",
      model.weight_type().c_str(), full.front().used_bytes_session / mib,
      folded.front().used_bytes_session / mib, fewer, all[0].median, all[0].min, all[1].median,
      all[1].min, all[1].median / all[0].median, decode[0].median, decode[0].min, decode[1].median,
      decode[1].min, decode[1].median / decode[0].median);
}

absl::Status Run(const Flags& flags) {
  const auto client = client::Client::Connect(flags.target);
  const auto model = client->GetModel();
  if (!model.ok()) return model.status();
  const auto prompts = bench::MakePrompts(*client, flags.text, flags.sessions, flags.prompt_tokens);
  if (!prompts.ok()) return prompts.status();
  std::vector<Round> full, folded;
  for (int i = 0; i < flags.rounds; ++i) {
    // The order changes from round to round, so that a slow drift of the machine favours neither.
    for (const bool fold : {i % 2 == 1, i % 2 == 0}) {
      auto round = fold ? RunRound(*client, flags, *prompts, "concertina", flags.budget)
                        : RunRound(*client, flags, *prompts, "full", 1.0);
      if (!round.ok()) return round.status();
      (fold ? folded : full).push_back(*round);
      std::fprintf(stderr, "round %d, %s: %.1f tokens/s, decoding together %.1f tokens/s\n", i + 1,
                   fold ? "concertina" : "full", round->all_per_s, round->decode_per_s);
    }
  }
  Report(flags, *model, full, folded);
  return absl::OkStatus();
}

}  // namespace
}  // namespace concertina

int main(int argc, char** argv) {
  concertina::Flags flags;
  CLI::App app{"What a cache budget buys, against the full cache"};
  app.add_option("--target", flags.target, "HOST:PORT")->capture_default_str();
  app.add_option("--text", flags.text, "File the prompts are cut from")->capture_default_str();
  app.add_option("--budget", flags.budget)->capture_default_str();
  app.add_option("--sessions", flags.sessions)->check(CLI::Range(1, 64))->capture_default_str();
  app.add_option("--prompt-tokens", flags.prompt_tokens)->capture_default_str();
  app.add_option("--generate", flags.generate)->check(CLI::Range(2, 4096))->capture_default_str();
  app.add_option("--rounds", flags.rounds)->check(CLI::Range(1, 100))->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = concertina::Run(flags);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}
