#include "bench/engine/scenarios.h"

#include <ctime>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"

namespace concertina::bench {

absl::StatusOr<nlohmann::json> RunScenario(Driver& driver, const Scenario& scenario) {
  const auto run = [&]() -> absl::StatusOr<nlohmann::json> {
    const std::string& name = scenario.name();
    if (name == "prefill") return RunPrefill(driver, scenario);
    if (name == "matrices") return RunMatrices(driver, scenario);
    if (name == "decode") return RunDecode(driver, scenario);
    if (name == "protocol") return RunProtocol(driver, scenario);
    if (name == "capacity") return RunCapacity(driver, scenario);
    if (name == "turns") return RunTurns(driver, scenario);
    if (name == "memory") return RunMemory(driver, scenario);
    return absl::InvalidArgumentError(absl::StrCat("no such scenario: ", name));
  };
  auto runs = run();
  if (!runs.ok()) return runs.status();
  return nlohmann::json{
      {"scenario", scenario.name()}, {"parameters", scenario.values()}, {"runs", *std::move(runs)}};
}

CacheOptions CacheOf(const Scenario& scenario) {
  const int tokens = scenario.Int("budget", 0);
  const Budget budget =
      tokens > 0 ? Budget::Tokens(tokens) : Budget::Ratio(scenario.Real("ratio", 0.2));
  return Cache(scenario.Text("policy", "concertina"), budget);
}

double CpuSeconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

int64_t StatusBytes(const char* key) {
  std::ifstream status("/proc/self/status");
  const std::string start = absl::StrCat(key, ":");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(start, 0) == 0) return std::stoll(line.substr(start.size())) * 1024;
  }
  return 0;
}

}  // namespace concertina::bench
