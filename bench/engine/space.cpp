// Scenarios that measure how much: pool bytes of sessions, a long conversation, resident memory.

#include <algorithm>

#include "bench/engine/scenarios.h"

namespace concertina::bench {
namespace {

constexpr const char* kGoOn = "Go on.";

// Pool bytes set aside for one of `sessions` sessions that all decode.
absl::StatusOr<int64_t> BytesOfOne(Driver& driver, const Scenario& scenario,
                                   const CacheOptions& cache) {
  const int sessions = scenario.Int("sessions", 4);
  const auto prompt = driver.PromptOf(scenario.Int("depth", 900), 0);
  if (!prompt.ok()) return prompt.status();
  const auto ids = driver.OpenMany(sessions, cache);
  if (!ids.ok()) return ids.status();
  if (const auto first = driver.Run(*ids, {*prompt}, 1); !first.ok()) return first.status();
  driver.peaks().Reset();
  const auto traces = driver.Run(*ids, {kGoOn}, scenario.Int("tokens", 64));
  if (!traces.ok()) return traces.status();
  const int64_t bytes =
      std::max(driver.peaks().pool_reserved_bytes(), driver.peaks().pool_used_bytes());
  if (auto status = driver.Close(*ids); !status.ok()) return status;
  return bytes / sessions;
}

// One turn of a conversation with a cache that is full.
absl::StatusOr<nlohmann::json> MeasuredTurn(Driver& driver, const std::string& id,
                                            const std::string& words, int answer) {
  const auto traces = driver.Run({id}, {words}, answer);
  if (!traces.ok()) return traces.status();
  const auto session = driver.Get(id);
  if (!session.ok()) return session.status();
  return nlohmann::json{{"turn", session->turns},
                        {"ms_per_step", RateOf(*traces).ms_per_step},
                        {"first_token_s", traces->front().FirstToken()},
                        {"tokens_seen", session->cache.tokens_seen},
                        {"live_entries", session->cache.live_entries},
                        {"used_bytes", session->cache.used_bytes},
                        {"transcript_bytes", session->transcript_bytes}};
}

}  // namespace

absl::StatusOr<nlohmann::json> RunCapacity(Driver& driver, const Scenario& scenario) {
  const auto full = BytesOfOne(driver, scenario, Cache("full", Budget::Ratio(1)));
  if (!full.ok()) return full.status();
  const auto folded = BytesOfOne(driver, scenario, CacheOf(scenario));
  if (!folded.ok()) return folded.status();
  const int64_t pool = driver.engine().options().pool_bytes;
  return nlohmann::json::array({{{"pool_bytes", pool},
                                 {"full_bytes_per_session", *full},
                                 {"folded_bytes_per_session", *folded},
                                 {"full_sessions", pool / *full},
                                 {"folded_sessions", pool / *folded}}});
}

absl::StatusOr<nlohmann::json> RunTurns(Driver& driver, const Scenario& scenario) {
  const int turns = scenario.Int("turns", 300);
  const int answer = scenario.Int("answer", 8);
  constexpr int kShort = 5;
  const CacheOptions cache = CacheOf(scenario);
  const auto ids = driver.OpenMany(2, cache);
  if (!ids.ok()) return ids.status();
  const auto talk = [&](const std::string& id, int count) -> absl::Status {
    for (int i = 0; i < count; ++i) {
      const auto words = driver.PromptOf(scenario.Int("tokens", 64), i);
      if (!words.ok()) return words.status();
      if (auto traces = driver.Run({id}, {*words}, answer); !traces.ok()) return traces.status();
    }
    return absl::OkStatus();
  };
  if (auto status = talk(ids->at(0), turns - 1); !status.ok()) return status;
  if (auto status = talk(ids->at(1), kShort - 1); !status.ok()) return status;
  // By turns, so that a machine that changes its speed changes both.
  nlohmann::json runs = nlohmann::json::array();
  const auto words = driver.PromptOf(scenario.Int("tokens", 64), 0);
  if (!words.ok()) return words.status();
  for (int i = 0; i < scenario.Int("repeat", 3); ++i) {
    auto late = MeasuredTurn(driver, ids->at(0), *words, scenario.Int("measured", 48));
    if (!late.ok()) return late.status();
    auto early = MeasuredTurn(driver, ids->at(1), *words, scenario.Int("measured", 48));
    if (!early.ok()) return early.status();
    runs.push_back({{"late", *std::move(late)}, {"early", *std::move(early)}});
  }
  if (auto status = driver.Close(*ids); !status.ok()) return status;
  return runs;
}

absl::StatusOr<nlohmann::json> RunMemory(Driver& driver, const Scenario& scenario) {
  const int64_t before = StatusBytes("VmRSS");
  driver.peaks().Reset();
  const auto prompt = driver.PromptOf(scenario.Int("depth", 2000), 0);
  if (!prompt.ok()) return prompt.status();
  const auto ids = driver.OpenMany(scenario.Int("sessions", 8), CacheOf(scenario));
  if (!ids.ok()) return ids.status();
  const auto traces = driver.Run(*ids, {*prompt}, scenario.Int("tokens", 16));
  if (!traces.ok()) return traces.status();
  nlohmann::json run = {{"loaded_rss_bytes", before},
                        {"peak_rss_bytes", StatusBytes("VmHWM")},
                        {"rss_bytes", StatusBytes("VmRSS")},
                        {"weight_bytes", driver.model().weight_bytes},
                        {"pool_used_peak_bytes", driver.peaks().pool_used_bytes()},
                        {"workspace_peak_bytes", driver.peaks().workspace_bytes()},
                        {"workspace_bound_bytes", driver.engine().workspace_bound_bytes()}};
  if (auto status = driver.Close(*ids); !status.ok()) return status;
  return nlohmann::json::array({std::move(run)});
}

}  // namespace concertina::bench
