// Scenarios that measure how fast: prefill, decode, and the protocol of both.

#include <numeric>

#include "bench/engine/scenarios.h"

namespace concertina::bench {
namespace {

// A turn that takes a session on from where it is, with next to no prompt of its own.
constexpr const char* kGoOn = "Go on.";

double Seconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}

absl::StatusOr<std::vector<std::string>> Prompts(Driver& driver, int count, int tokens) {
  std::vector<std::string> prompts;
  for (int i = 0; i < count; ++i) {
    auto prompt = driver.PromptOf(tokens, i);
    if (!prompt.ok()) return prompt.status();
    prompts.push_back(*std::move(prompt));
  }
  return prompts;
}

absl::StatusOr<TurnTrace> PrefillOnce(Driver& driver, const Scenario& scenario,
                                      const std::string& prompt) {
  auto id = driver.Open(CacheOf(scenario));
  if (!id.ok()) return id.status();
  auto traces = driver.Run({*id}, {prompt}, 1);
  if (!traces.ok()) return traces.status();
  if (auto status = driver.Close({*id}); !status.ok()) return status;
  return std::move(traces->front());
}

// What the sessions hold, summed up.
absl::StatusOr<CacheSnapshot> SumOf(Driver& driver, const std::vector<std::string>& ids) {
  CacheSnapshot sum;
  for (const std::string& id : ids) {
    const auto session = driver.Get(id);
    if (!session.ok()) return session.status();
    sum.live_entries += session->cache.live_entries;
    sum.payload_bytes += session->cache.payload_bytes;
    sum.used_bytes += session->cache.used_bytes;
    sum.tokens_seen += session->cache.tokens_seen;
  }
  return sum;
}

}  // namespace

absl::StatusOr<nlohmann::json> RunPrefill(Driver& driver, const Scenario& scenario) {
  const int tokens = scenario.Int("tokens", 600);
  nlohmann::json runs = nlohmann::json::array();
  // The first one is not counted: it fills caches and lets buffers grow.
  for (int i = 0; i <= scenario.Int("repeat", 1); ++i) {
    const auto prompt = driver.PromptOf(tokens, i);
    if (!prompt.ok()) return prompt.status();
    const auto trace = PrefillOnce(driver, scenario, *prompt);
    if (!trace.ok()) return trace.status();
    const CompletedEvent& completed = trace->completed;
    if (i == 0) continue;
    runs.push_back(
        {{"prompt_tokens", completed.prompt_tokens},
         {"first_token_s", trace->FirstToken()},
         {"prefill_s", Seconds(completed.timings.prefill)},
         {"fold_s", Seconds(completed.timings.fold)},
         {"tokens_per_s", static_cast<double>(completed.prompt_tokens) / trace->FirstToken()}});
  }
  return runs;
}

absl::StatusOr<nlohmann::json> RunDecode(Driver& driver, const Scenario& scenario) {
  const int sessions = scenario.Int("sessions", 1);
  const int generate = scenario.Int("tokens", 64);
  const auto ids = driver.OpenMany(sessions, CacheOf(scenario));
  if (!ids.ok()) return ids.status();
  if (const int depth = scenario.Int("depth", 0); depth > 0) {
    const auto prompts = Prompts(driver, sessions, depth);
    if (!prompts.ok()) return prompts.status();
    if (const auto first = driver.Run(*ids, *prompts, 1); !first.ok()) return first.status();
  }
  nlohmann::json runs = nlohmann::json::array();
  for (int i = 0; i < scenario.Int("repeat", 1); ++i) {
    const double cpu = CpuSeconds();
    const auto begin = BenchClock::now();
    const auto traces = driver.Run(*ids, {kGoOn}, generate);
    if (!traces.ok()) return traces.status();
    const double cpu_used = CpuSeconds() - cpu;
    const double wall = Seconds(BenchClock::now() - begin);
    const auto sum = SumOf(driver, *ids);
    if (!sum.ok()) return sum.status();
    const StepRate rate = RateOf(*traces);
    runs.push_back({{"tokens_per_s", rate.tokens_per_s},
                    {"ms_per_step", rate.ms_per_step},
                    {"whole_turn_tokens_per_s", sessions * generate / wall},
                    {"cpu_ms_per_token", 1e3 * cpu_used / (sessions * generate)},
                    {"tokens_seen", sum->tokens_seen},
                    {"live_entries", sum->live_entries},
                    {"payload_bytes", sum->payload_bytes},
                    {"used_bytes", sum->used_bytes}});
  }
  if (auto status = driver.Close(*ids); !status.ok()) return status;
  return runs;
}

absl::StatusOr<nlohmann::json> RunProtocol(Driver& driver, const Scenario& scenario) {
  const int sessions = scenario.Int("sessions", 16);
  const int generate = scenario.Int("tokens", 512);
  const auto prompts = Prompts(driver, sessions, scenario.Int("prompt", 1024));
  if (!prompts.ok()) return prompts.status();
  nlohmann::json runs = nlohmann::json::array();
  for (int i = 0; i < scenario.Int("repeat", 1); ++i) {
    const auto ids = driver.OpenMany(sessions, CacheOf(scenario));
    if (!ids.ok()) return ids.status();
    const auto begin = BenchClock::now();
    if (const auto first = driver.Run(*ids, *prompts, 1); !first.ok()) return first.status();
    const double prefill = Seconds(BenchClock::now() - begin);
    const auto traces = driver.Run(*ids, {kGoOn}, generate);
    if (!traces.ok()) return traces.status();
    const double whole = Seconds(BenchClock::now() - begin);
    const auto sum = SumOf(driver, *ids);
    if (!sum.ok()) return sum.status();
    const StepRate rate = RateOf(*traces);
    runs.push_back({{"decode_tokens_per_s", rate.tokens_per_s},
                    {"decode_ms_per_step", rate.ms_per_step},
                    {"whole_tokens_per_s", sessions * generate / whole},
                    {"prefill_s", prefill},
                    {"whole_s", whole},
                    {"payload_bytes", sum->payload_bytes},
                    {"used_bytes", sum->used_bytes}});
    if (auto status = driver.Close(*ids); !status.ok()) return status;
  }
  return runs;
}

}  // namespace concertina::bench
