#include "models/kernels/isa.h"

#include <atomic>

namespace concertina::isa {
namespace {

std::atomic<const Kernels*> g_forced{nullptr};

bool HasAvx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("fma");
}

bool HasAvx512Dot() {
  return HasAvx512() && __builtin_cpu_supports("avx512vnni") &&
         __builtin_cpu_supports("avx512bf16");
}

bool HasAvx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

const Kernels* Best() {
  if (HasAvx512Dot()) return &Avx512DotKernels();
  if (HasAvx512()) return &Avx512Kernels();
  if (HasAvx2()) return &Avx2Kernels();
  return &BaseKernels();
}

}  // namespace

const Kernels& Active() {
  static const Kernels* const kBest = Best();
  const Kernels* forced = g_forced.load(std::memory_order_relaxed);
  return forced != nullptr ? *forced : *kBest;
}

const Kernels* Variant(Level level) {
  switch (level) {
    case Level::kAvx512Dot:
      return HasAvx512Dot() ? &Avx512DotKernels() : nullptr;
    case Level::kAvx512:
      return HasAvx512() ? &Avx512Kernels() : nullptr;
    case Level::kAvx2:
      return HasAvx2() ? &Avx2Kernels() : nullptr;
    case Level::kBase:
      return &BaseKernels();
  }
  return nullptr;
}

void ForceForTesting(const Kernels* kernels) { g_forced.store(kernels, std::memory_order_relaxed); }

}  // namespace concertina::isa
