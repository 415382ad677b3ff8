// What the machine can do at most, as the yardstick of everything else: read bandwidth of a buffer
// far larger than the caches, and multiply-adds on registers alone, with all threads at once.
//
//   concertina_machine_peak [threads] [MiB of the buffer] [repetitions]
//
// Prints one JSON object. An operation is a multiplication or an addition; types that the CPU
// cannot multiply in hardware are left out.

#include <cpuid.h>
#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "nlohmann/json.hpp"

namespace concertina {
namespace {

using Clock = std::chrono::steady_clock;

// Chains of dependent instructions that run beside each other: enough to hide a latency of 8 at two
// a cycle, few enough to stay in registers.
constexpr int kChains = 16;
constexpr int kChains256 = 12;
constexpr int64_t kPeakSteps = int64_t{1} << 22;

struct Loop {
  const char* name;
  double operations_per_step;  // of one thread
  void (*run)(int64_t steps);
};

// The compiler neither knows what a register holds nor that it could drop it.
#define CONCERTINA_OPAQUE(value) asm volatile("" : "+v"(value))

#define CONCERTINA_PEAK_LOOP(name, features, Vector, zero, factor, chains, step) \
  __attribute__((target(features))) void name(int64_t steps) {                   \
    Vector sums[chains];                                                         \
    for (Vector & sum : sums) sum = zero;                                        \
    auto a = factor;                                                             \
    auto b = factor;                                                             \
    CONCERTINA_OPAQUE(a);                                                        \
    CONCERTINA_OPAQUE(b);                                                        \
    for (int64_t i = 0; i < steps; ++i) {                                        \
      _Pragma("GCC unroll 16") for (int j = 0; j < chains; ++j) sums[j] = step;  \
    }                                                                            \
    for (Vector & sum : sums) CONCERTINA_OPAQUE(sum);                            \
  }

CONCERTINA_PEAK_LOOP(F32By512, "avx512f", __m512, _mm512_setzero_ps(), _mm512_set1_ps(1e-3f),
                     kChains, _mm512_fmadd_ps(a, b, sums[j]))
CONCERTINA_PEAK_LOOP(F32By256, "avx2,fma", __m256, _mm256_setzero_ps(), _mm256_set1_ps(1e-3f),
                     kChains256, _mm256_fmadd_ps(a, b, sums[j]))
CONCERTINA_PEAK_LOOP(Bf16By512, "avx512f,avx512bf16", __m512, _mm512_setzero_ps(),
                     _mm512_set1_epi32(0x3a803a80), kChains,
                     _mm512_dpbf16_ps(sums[j], (__m512bh)a, (__m512bh)b))
CONCERTINA_PEAK_LOOP(Int8By512, "avx512f,avx512vnni", __m512i, _mm512_setzero_si512(),
                     _mm512_set1_epi8(1), kChains, _mm512_dpbusd_epi32(sums[j], a, b))
CONCERTINA_PEAK_LOOP(Int8By256, "avx2,avxvnni", __m256i, _mm256_setzero_si256(),
                     _mm256_set1_epi8(1), kChains256, _mm256_dpbusd_avx_epi32(sums[j], a, b))

// Which not every compiler's __builtin_cpu_supports() knows.
bool HasAvxVnni() {
  constexpr unsigned kAvxVnniBit = 1U << 4;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __builtin_cpu_supports("avx2") && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 &&
         (eax & kAvxVnniBit) != 0;
}

std::vector<Loop> LoopsOf(const std::string& type) {
  std::vector<Loop> loops;
  const bool avx512 = __builtin_cpu_supports("avx512f");
  if (type == "f32") {
    if (avx512) loops.push_back({"512 bits", 2.0 * 16 * kChains, F32By512});
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
      loops.push_back({"256 bits", 2.0 * 8 * kChains256, F32By256});
    }
  } else if (type == "bf16") {
    if (avx512 && __builtin_cpu_supports("avx512bf16")) {
      loops.push_back({"512 bits", 2.0 * 32 * kChains, Bf16By512});
    }
  } else {
    if (avx512 && __builtin_cpu_supports("avx512vnni")) {
      loops.push_back({"512 bits", 2.0 * 64 * kChains, Int8By512});
    }
    if (HasAvxVnni()) {
      loops.push_back({"256 bits", 2.0 * 32 * kChains256, Int8By256});
    }
  }
  return loops;
}

// Seconds until all threads have called `body` with their number.
double SecondsOf(int threads, const std::function<void(int)>& body) {
  std::vector<std::thread> workers;
  const auto start = Clock::now();
  for (int i = 1; i < threads; ++i) workers.emplace_back(body, i);
  body(0);
  for (std::thread& worker : workers) worker.join();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Samples {
  std::vector<double> values;

  double Max() const { return *std::max_element(values.begin(), values.end()); }
  double Median() const {
    std::vector<double> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    return (sorted[(sorted.size() - 1) / 2] + sorted[sorted.size() / 2]) / 2;
  }
};

nlohmann::json PeakOf(const std::string& type, int threads, int repetitions) {
  nlohmann::json best;
  for (const Loop& loop : LoopsOf(type)) {
    Samples rates;
    SecondsOf(threads, [&](int) { loop.run(kPeakSteps / 8); });
    for (int i = 0; i < repetitions; ++i) {
      const double seconds = SecondsOf(threads, [&](int) { loop.run(kPeakSteps); });
      rates.values.push_back(loop.operations_per_step * static_cast<double>(kPeakSteps) * threads /
                             seconds * 1e-9);
    }
    if (best.is_null() || best["max"] < rates.Max()) {
      best = {{"max", rates.Max()}, {"median", rates.Median()}, {"vectors", loop.name}};
    }
  }
  return best;
}

// Sums whole cache lines, so that nothing but the reading takes time.
__attribute__((target("avx512f"))) uint64_t Read512(const uint8_t* data, int64_t bytes) {
  __m512i sums[4] = {};
  for (int64_t i = 0; i < bytes; i += 256) {
    for (int j = 0; j < 4; ++j) {
      sums[j] = _mm512_add_epi64(sums[j], _mm512_load_si512(data + i + j * 64));
    }
  }
  alignas(64) uint64_t lanes[8];
  _mm512_store_si512(lanes, _mm512_add_epi64(_mm512_add_epi64(sums[0], sums[1]),
                                             _mm512_add_epi64(sums[2], sums[3])));
  return std::accumulate(lanes, lanes + 8, uint64_t{0});
}

uint64_t ReadPlain(const uint8_t* data, int64_t bytes) {
  const auto* words = reinterpret_cast<const uint64_t*>(data);
  uint64_t sums[8] = {};
  for (int64_t i = 0; i < bytes / 8; i += 8) {
    for (int j = 0; j < 8; ++j) sums[j] += words[i + j];
  }
  return std::accumulate(sums, sums + 8, uint64_t{0});
}

nlohmann::json ReadBandwidth(int threads, int64_t bytes, int repetitions) {
  constexpr int64_t kAlignment = 4096;
  const int64_t share = bytes / threads / kAlignment * kAlignment;
  const auto size = static_cast<size_t>(share * threads);
  const std::unique_ptr<uint8_t, void (*)(void*)> buffer(
      static_cast<uint8_t*>(std::aligned_alloc(kAlignment, size)), std::free);
  if (buffer == nullptr) return nullptr;
  const auto read = __builtin_cpu_supports("avx512f") ? Read512 : ReadPlain;
  std::vector<uint64_t> sums(static_cast<size_t>(threads) * 16);
  SecondsOf(threads, [&](int i) { std::fill_n(buffer.get() + i * share, share, uint8_t{1}); });
  Samples rates;
  for (int i = 0; i < repetitions; ++i) {
    const double seconds = SecondsOf(threads, [&](int thread) {
      sums[static_cast<size_t>(thread) * 16] += read(buffer.get() + thread * share, share);
    });
    rates.values.push_back(static_cast<double>(share * threads) / seconds * 1e-9);
  }
  uint64_t total = 0;
  for (const uint64_t sum : sums) total += sum;
  return {{"max", rates.Max()},
          {"median", rates.Median()},
          {"buffer_mib", static_cast<int64_t>(size >> 20)},
          {"checksum", total}};
}

}  // namespace
}  // namespace concertina

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::max(1, std::atoi(argv[1])) : 2;
  const int64_t mib = argc > 2 ? std::max(1, std::atoi(argv[2])) : 1024;
  const int repetitions = argc > 3 ? std::max(1, std::atoi(argv[3])) : 20;
  nlohmann::json report = {{"threads", threads}};
  report["read_gb_per_s"] = concertina::ReadBandwidth(threads, mib << 20, repetitions);
  for (const char* type : {"f32", "bf16", "int8"}) {
    const nlohmann::json peak = concertina::PeakOf(type, threads, repetitions);
    if (!peak.is_null()) report["peak_gop_per_s"][type] = peak;
  }
  std::printf("%s\n", report.dump().c_str());
  return 0;
}
