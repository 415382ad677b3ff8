#include "models/kernels/elementwise.h"

#include <algorithm>

#include "models/kernels/isa.h"
#include "models/kernels/parallel.h"

namespace concertina {
namespace {

// Elements worth waking another thread for, of cheap (bandwidth) and costly (exp) operations.
constexpr int64_t kCheapGrain = 1 << 15;
constexpr int64_t kCostlyGrain = 1 << 13;

int64_t RowGrain(int64_t elements, int64_t row) {
  return std::max<int64_t>(1, elements / std::max<int64_t>(1, row));
}

}  // namespace

void RmsNorm(const float* x, const float* weight, int64_t rows, int64_t d, float eps, float* y) {
  const isa::Kernels& kernels = isa::Active();
  ParallelFor(0, rows, RowGrain(kCheapGrain, d), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) kernels.rms_norm(x + r * d, weight, d, eps, y + r * d);
  });
}

void LayerNorm(const float* x, const float* weight, const float* bias, int64_t rows, int64_t d,
               float eps, float* y) {
  const isa::Kernels& kernels = isa::Active();
  ParallelFor(0, rows, RowGrain(kCheapGrain, d), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      kernels.layer_norm(x + r * d, weight, bias, d, eps, y + r * d);
    }
  });
}

void AddRows(const float* x, int64_t rows, int64_t d, float* y) {
  const isa::Kernels& kernels = isa::Active();
  ParallelFor(0, rows * d, kCheapGrain,
              [&](int64_t begin, int64_t end) { kernels.add(x + begin, end - begin, y + begin); });
}

void SiluMultiply(const float* gate_up, int64_t rows, int64_t inter, float* y) {
  const isa::Kernels& kernels = isa::Active();
  ParallelFor(0, rows, RowGrain(kCostlyGrain, inter), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* gate = gate_up + r * 2 * inter;
      kernels.silu_multiply(gate, gate + inter, inter, y + r * inter);
    }
  });
}

void Gelu(float* x, int64_t count) {
  const isa::Kernels& kernels = isa::Active();
  ParallelFor(0, count, kCostlyGrain,
              [&](int64_t begin, int64_t end) { kernels.gelu(x + begin, end - begin); });
}

void QuickGelu(float* x, int64_t count) {
  const isa::Kernels& kernels = isa::Active();
  ParallelFor(0, count, kCostlyGrain,
              [&](int64_t begin, int64_t end) { kernels.quick_gelu(x + begin, end - begin); });
}

}  // namespace concertina
