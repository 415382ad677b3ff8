#include "tests/hostile/campaign.h"

#include <malloc.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CONCERTINA_UNDER_SANITIZER true
#else
#define CONCERTINA_UNDER_SANITIZER false
#endif

#if defined(__SANITIZE_ADDRESS__)
// Freed memory is kept to find late uses of it; less of it, so that resident memory says something.
extern "C" const char* __asan_default_options() { return "quarantine_size_mb=8"; }  // NOLINT
#endif

namespace concertina::testing {
namespace {

constexpr uint32_t kDefaultSeed = 20261121;

int64_t StatusField(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(name + ":", 0) == 0) return std::atoll(line.c_str() + name.size() + 1) * 1024;
  }
  return -1;
}

}  // namespace

bool FullCampaign() {
  const char* full = std::getenv("CONCERTINA_FULL");
  return full != nullptr && std::string(full) == "1";
}

uint32_t CampaignSeed() {
  const char* given = std::getenv("CONCERTINA_SEED");
  const uint32_t seed =
      given != nullptr ? static_cast<uint32_t>(std::strtoul(given, nullptr, 10)) : kDefaultSeed;
  std::printf("seed %u\n", seed);
  return seed;
}

int64_t ResidentBytes() {
  malloc_trim(0);
  return StatusField("VmRSS");
}

void MarkPeakResident() {
  malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5";
}

int64_t PeakResidentBytes() { return StatusField("VmHWM"); }

bool UnderSanitizer() { return CONCERTINA_UNDER_SANITIZER; }

}  // namespace concertina::testing
