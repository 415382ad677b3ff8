#include "models/kernels/packed_keys.h"

#include <algorithm>
#include <cstring>

#include "models/kernels/isa.h"
#include "models/kernels/parallel.h"

namespace concertina {
namespace {

// Keys that are laid out by one thread: words of one half each never have two writers.
constexpr int64_t kKeysTogether = 4;
// Rows worth waking another thread for.
constexpr int64_t kGrainKeys = 128;

int64_t RoundUp(int64_t a, int64_t multiple) { return (a + multiple - 1) / multiple * multiple; }

}  // namespace

int64_t PackedKeys::FloatsFor(const Shape& shape) {
  const PackedKeys laid_out(shape, nullptr);
  const int64_t values = laid_out.bf16_ || laid_out.padded_values_ ? laid_out.value_head_ : 0;
  const int64_t elements = shape.kv_heads * (laid_out.key_head_ + values);
  return laid_out.bf16_ ? elements / 2 : elements;
}

PackedKeys::PackedKeys(const Shape& shape, float* memory)
    : kv_heads_(shape.kv_heads), head_dim_(shape.head_dim) {
  const isa::Kernels& isa = isa::Active();
  columns_ = isa.panel_columns;
  bf16_ = shape.precision == AttentionPrecision::kBf16 && isa.prefill != nullptr;
  if (bf16_) {
    const int64_t keys = RoundUp(shape.capacity, isa::kPrefillRows);
    key_head_ = keys * RoundUp(head_dim_, 2);
    value_head_ = RoundUp(keys * head_dim_, 2);
    bf16_keys_ = reinterpret_cast<uint16_t*>(memory);
    bf16_values_ = bf16_keys_ + kv_heads_ * key_head_;
    return;
  }
  padded_head_dim_ = RoundUp(head_dim_, columns_);
  padded_values_ = padded_head_dim_ != head_dim_;
  key_head_ = RoundUp(shape.capacity, columns_) * head_dim_;
  value_head_ = shape.capacity * padded_head_dim_;
  f32_keys_ = memory;
  f32_values_ = f32_keys_ + kv_heads_ * key_head_;
}

void PackedKeys::Append(const float* k, const float* v, int64_t count, int64_t head_stride,
                        int64_t row_stride) {
  const int64_t end = keys_ + count;
  const int64_t first = keys_ / kKeysTogether;
  const int64_t groups = RoundUp(end, kKeysTogether) / kKeysTogether - first;
  const auto append = [&](int64_t begin_task, int64_t end_task) {
    for (int64_t task = begin_task; task < end_task; ++task) {
      const int64_t head = task / groups;
      const int64_t from = (first + task % groups) * kKeysTogether;
      for (int64_t key = std::max(from, keys_); key < std::min(end, from + kKeysTogether); ++key) {
        const int64_t at = head * head_stride + (key - keys_) * row_stride;
        if (bf16_) {
          AppendBf16(k + at, v + at, head, key);
        } else {
          AppendF32(k + at, v + at, head, key);
        }
      }
    }
  };
  ParallelFor(0, kv_heads_ * groups, kGrainKeys / kKeysTogether, append);
  keys_ = end;
}

void PackedKeys::AppendF32(const float* k, const float* v, int64_t kv_head, int64_t key) {
  float* to = f32_keys_ + kv_head * key_head_ + key / columns_ * columns_ * head_dim_;
  to += key % columns_;
  for (int64_t i = 0; i < head_dim_; ++i) to[i * columns_] = k[i];
  if (!padded_values_) return;
  float* values = f32_values_ + kv_head * value_head_ + key * padded_head_dim_;
  std::copy_n(v, head_dim_, values);
  std::fill(values + head_dim_, values + padded_head_dim_, 0.0f);
}

void PackedKeys::AppendBf16(const float* k, const float* v, int64_t kv_head, int64_t key) {
  const isa::Kernels& isa = isa::Active();
  constexpr int64_t kChunk = 64;
  uint16_t row[kChunk + 1];
  uint16_t* keys = bf16_keys_ + kv_head * key_head_;
  keys += key / 4 * 4 * RoundUp(head_dim_, 2) + key % 4 * 2;
  auto* values = bf16_values_ + kv_head * value_head_ + key / 2 * 2 * head_dim_;
  for (int64_t first = 0; first < head_dim_; first += kChunk) {
    const int64_t count = std::min(kChunk, head_dim_ - first);
    isa.to_bf16(k + first, count, row);
    row[count] = 0;
    for (int64_t i = 0; i < count; i += 2) {
      std::memcpy(keys + (first + i) * 4, row + i, 2 * sizeof(uint16_t));
    }
    isa.to_bf16(v + first, count, row);
    uint16_t* to = values + first * 2;
    for (int64_t i = 0; i < count; ++i) {
      uint32_t pair = row[i];
      if (key % 2 != 0) {
        std::memcpy(&pair, to + 2 * i, sizeof(pair));
        pair |= uint32_t{row[i]} << 16;
      }
      std::memcpy(to + 2 * i, &pair, sizeof(pair));
    }
  }
}

}  // namespace concertina
