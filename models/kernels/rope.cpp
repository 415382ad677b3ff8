#include "models/kernels/rope.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "models/kernels/isa.h"
#include "models/kernels/parallel.h"

namespace concertina {
namespace {

// Positions kept in the table: two trained contexts of the usual models, 4 MiB at head_dim 64.
constexpr int64_t kMaxTablePositions = 16384;

// [cos of all frequencies, then sin].
void Angles(int64_t position, const std::vector<float>& inv_freq, float* out) {
  const size_t half = inv_freq.size();
  for (size_t i = 0; i < half; ++i) {
    const float angle = static_cast<float>(position) * inv_freq[i];
    out[i] = std::cos(angle);
    out[half + i] = std::sin(angle);
  }
}

}  // namespace

RopeTable::RopeTable(int64_t head_dim, double theta) : head_dim_(head_dim) {
  // 1.0 / base ** (arange(0, dim, 2) / dim), every step in f32.
  for (int64_t i = 0; i < head_dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(head_dim);
    inv_freq_.push_back(1.0f / std::pow(static_cast<float>(theta), exponent));
  }
}

void RopeTable::Cover(int64_t positions) const {
  const int64_t have = static_cast<int64_t>(table_.size()) / head_dim_;
  if (positions <= have) return;
  // Grown by doubling: one position at a time would copy the table at every step of decoding.
  const int64_t want = std::min(kMaxTablePositions, std::max<int64_t>({positions, 2 * have, 256}));
  table_.resize(static_cast<size_t>(want * head_dim_));
  ParallelFor(have, want, 64, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) Angles(p, inv_freq_, &table_[p * head_dim_]);
  });
}

void RopeTable::Rotate(float* x, int64_t rows, int64_t heads, int64_t row_stride,
                       const int32_t* positions, float sign) const {
  int64_t needed = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t position = std::abs(static_cast<int64_t>(positions[r]));
    if (position < kMaxTablePositions) needed = std::max(needed, position + 1);
  }
  Cover(needed);
  const isa::Kernels& kernels = isa::Active();
  const int64_t half = head_dim_ / 2;
  const int64_t grain = std::max<int64_t>(1, (1 << 15) / (heads * head_dim_));
  ParallelFor(0, rows, grain, [&](int64_t begin, int64_t end) {
    std::vector<float> beyond;
    for (int64_t r = begin; r < end; ++r) {
      // cos is even and sin odd, so the table serves negative positions too.
      const int64_t position = std::abs(static_cast<int64_t>(positions[r]));
      const float direction = positions[r] < 0 ? -sign : sign;
      const float* angles = nullptr;
      if (position < kMaxTablePositions) {
        angles = &table_[position * head_dim_];
      } else {
        beyond.resize(static_cast<size_t>(head_dim_));
        Angles(position, inv_freq_, beyond.data());
        angles = beyond.data();
      }
      for (int64_t h = 0; h < heads; ++h) {
        kernels.rotate(x + r * row_stride + h * head_dim_, angles, angles + half, direction, half);
      }
    }
  });
}

int64_t RopeTable::bytes() const {
  return static_cast<int64_t>((table_.capacity() + inv_freq_.capacity()) * sizeof(float));
}

}  // namespace concertina
