#include <atomic>
#include <cstdio>
#include <string>
#include <vector>

#include "client/bench/load.h"
#include "client/cli/bench_report.h"
#include "client/cli/interrupts.h"
#include "client/cli/invocation.h"
#include "client/cli/json.h"
#include "client/cli/session_options.h"
#include "client/cli/text.h"

namespace concertina::cli {
namespace {

constexpr int kMostSessions = 4096;
constexpr int kMostConnections = 256;
constexpr int kMostPromptTokens = 100'000;
constexpr double kHighestRate = 1e6;
constexpr double kLongestRun = 7 * 86'400;
constexpr int kUsualPromptTokens = 64;
constexpr int kUsualAnswerTokens = 64;

struct BenchFlags {
  CacheFlags cache;
  bench::LoadOptions load;
  int connections = 1;
  int prompt_tokens = kUsualPromptTokens;
  int max_tokens = kUsualAnswerTokens;
  int warmup = 0;
  int64_t requests = 0;
  double duration_s = 0;
  bool ignore_eos = false;
  std::vector<std::string> sizes;
  std::vector<std::string> images;
};

std::string CheckSize(const std::string& text) {
  const auto size = bench::ParsePictureSize(text);
  return size.ok() ? std::string() : std::string(size.status().message());
}

// The load that the flags ask for; INVALID_ARGUMENT if a picture cannot be read.
absl::StatusOr<bench::LoadOptions> MakeLoad(const Invocation& invocation, const BenchFlags& flags) {
  bench::LoadOptions load = flags.load;
  if (load.concurrency == 0) load.concurrency = load.sessions;
  load.pace.seed = load.seed;
  load.pace.requests = flags.requests;
  if (flags.duration_s > 0) {
    load.pace.last = bench::Pacer::Offset(flags.duration_s);
  } else if (flags.requests == 0) {
    load.pace.requests = int64_t{load.sessions} * load.turns;
  }
  load.retries = invocation.retries;
  load.ask.max_tokens = flags.max_tokens;
  load.ask.ignore_eos = flags.ignore_eos;
  if (flags.cache.has_policy()) load.open.policy = flags.cache.Policy();
  if (!flags.cache.budget.empty()) load.open.budget = flags.cache.Budget();
  // A server that takes no sessions is to be seen.
  load.open.retry_for = std::chrono::milliseconds(0);
  for (const auto& size : flags.sizes) {
    load.picture_sizes.push_back(*bench::ParsePictureSize(size));
  }
  for (const auto& path : flags.images) {
    auto bytes = ReadFile(path, kMaxImageBytes);
    if (!bytes.ok()) return bytes.status();
    load.picture_files.push_back(*std::move(bytes));
  }
  return load;
}

absl::StatusOr<bench::Report> RunLoad(const Invocation& invocation, const BenchFlags& flags,
                                      const bench::LoadOptions& options,
                                      const bench::PromptMaker& prompts, Interrupts& interrupts,
                                      std::atomic<bool>& stopped) {
  client::ClientOptions client_options = invocation.Options();
  // Counted here, not hidden in the channel.
  client_options.retry.max_attempts = 1;
  std::vector<std::unique_ptr<client::Client>> clients;
  for (int i = 0; i < flags.connections; ++i) {
    clients.push_back(client::Client::Connect(invocation.Target(), client_options));
  }
  bench::Load load(std::move(clients), prompts, options);
  const Interrupts::Watch watch(interrupts, [&load, &stopped] {
    stopped = true;
    load.Stop();
  });
  return load.Run();
}

int Run(const Invocation& invocation, const BenchFlags& flags) {
  const auto options = MakeLoad(invocation, flags);
  if (!options.ok()) {
    Fail(invocation, options.status());
    return kExitUsage;
  }
  Interrupts interrupts;
  const auto server = invocation.Connect();
  const auto prompts = bench::PromptMaker::Make(*server, flags.prompt_tokens);
  if (!prompts.ok()) return Fail(invocation, prompts.status());
  std::atomic<bool> stopped{false};  // by a signal: what was measured until then is shown
  if (flags.warmup > 0) {
    bench::LoadOptions warmup = *options;
    warmup.pace = {.requests = flags.warmup};
    const auto report = RunLoad(invocation, flags, warmup, *prompts, interrupts, stopped);
    if (!report.ok()) return Fail(invocation, report.status());
    if (stopped) return kExitInterrupted;
  }
  const auto report = RunLoad(invocation, flags, *options, *prompts, interrupts, stopped);
  if (!report.ok()) return Fail(invocation, report.status());
  if (invocation.json) {
    PrintJson(BenchJson(*options, *report));
  } else {
    std::fputs(BenchText(*options, *report).c_str(), stdout);
  }
  if (stopped) return kExitInterrupted;
  return report->done > 0 ? kExitOk : kExitFailed;
}

void AddLoadFlags(CLI::App& command, BenchFlags& flags) {
  bench::LoadOptions& load = flags.load;
  command.add_option("--sessions", load.sessions, "Sessions open at once")
      ->check(CLI::Range(1, kMostSessions))
      ->capture_default_str();
  command
      .add_option("--concurrency", load.concurrency,
                  "Turns in flight at once, at most; default: --sessions")
      ->check(CLI::Range(1, kMostSessions));
  command.add_option("--turns", load.turns, "Turns of a session, then a new one is opened")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command
      .add_option("--rate", load.pace.rate,
                  "Requests a second, arriving as a Poisson process; default: each session\n"
                  "asks again as soon as it has its answer")
      ->check(CLI::Range(1e-6, kHighestRate));
  command
      .add_option("--requests", flags.requests,
                  "End after so many; default: sessions x turns, or no limit with --duration")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  command.add_option("--duration", flags.duration_s, "Send nothing after so many seconds")
      ->check(CLI::Range(1e-3, kLongestRun));
  command.add_option("--warmup", flags.warmup, "Requests before the run, not counted")
      ->check(CLI::Range(0, 1 << 20));
  command.add_option("--connections", flags.connections, "Sessions spread over so many")
      ->check(CLI::Range(1, kMostConnections))
      ->capture_default_str();
  command.add_option("--seed", load.seed, "Of arrivals, prompts and pictures")
      ->capture_default_str();
}

void AddContentFlags(CLI::App& command, BenchFlags& flags) {
  command
      .add_option("--prompt-tokens", flags.prompt_tokens,
                  "Tokens of a turn's words; the chat template and pictures come on top")
      ->check(CLI::Range(1, kMostPromptTokens))
      ->capture_default_str();
  command.add_option("--max-tokens", flags.max_tokens, "Longest answer")
      ->check(CLI::Range(1, 1 << 30))
      ->capture_default_str();
  command.add_flag("--ignore-eos", flags.ignore_eos, "Answers of exactly --max-tokens");
  auto* size = command
                   .add_option("--image-size", flags.sizes,
                               "A picture of WIDTHxHEIGHT, made for each session; several: by\n"
                               "turns")
                   ->check(CheckSize);
  command.add_option("--image", flags.images, "Or these files")->excludes(size);
  flags.cache.AddTo(command);
}

}  // namespace

void AddBench(CLI::App& app, Invocation& invocation) {
  auto* command = app.add_subcommand("bench", "Measures a server under load");
  command->footer(bench::kDefinitions);
  const auto flags = std::make_shared<BenchFlags>();
  flags->load.concurrency = 0;
  AddLoadFlags(*command, *flags);
  AddContentFlags(*command, *flags);
  command->callback([&invocation, flags] {
    invocation.run = [&invocation, flags] { return Run(invocation, *flags); };
  });
}

}  // namespace concertina::cli
