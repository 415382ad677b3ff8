#include "tests/campaigns/campaign.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "absl/strings/str_cat.h"

namespace concertina::testing {

bool IsFullSize() {
  static const bool kFull = [] {
    const char* const value = std::getenv("CONCERTINA_FULL");
    return value != nullptr && std::string(value) == "1";
  }();
  return kFull;
}

int Sized(int ordinary, int full) { return IsFullSize() ? full : ordinary; }

uint32_t Seed() {
  static const uint32_t kSeed = [] {
    const char* const value = std::getenv("CONCERTINA_SEED");
    const uint32_t seed = value != nullptr ? static_cast<uint32_t>(std::strtoul(value, nullptr, 10))
                                           : std::random_device()();
    std::printf("CONCERTINA_SEED=%u\n", seed);
    std::fflush(stdout);
    return seed;
  }();
  return kSeed;
}

std::mt19937 RandomStream(uint32_t stream) {
  std::seed_seq sequence{Seed(), stream};
  return std::mt19937(sequence);
}

int Draw(std::mt19937& random, int low, int high) {
  return std::uniform_int_distribution<int>(low, high)(random);
}

double Percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(values.size())));
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(std::max<size_t>(rank, 1) - 1);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

double MsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

bool Eventually(std::chrono::milliseconds limit, const std::function<bool()>& holds) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!holds()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

int64_t ResidentBytes(pid_t pid) {
  std::ifstream status(absl::StrCat("/proc/", pid, "/status"));
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmRSS:", 0) == 0) return std::atoll(line.c_str() + 6) * 1024;
  }
  return 0;
}

void PrintFigures(const std::string& name, const std::string& figures) {
  std::printf("FIGURES %s (%s): seed %u, %s\n", name.c_str(), IsFullSize() ? "full" : "scaled",
              Seed(), figures.c_str());
  std::fflush(stdout);
}

}  // namespace concertina::testing
