#pragma once

#include <cstddef>
#include <cstdint>

namespace concertina {

// What the products of prefill attention are computed in; sums are f32 in either.
//
// kBf16: q, k, v and the probabilities are rounded to bf16, as a cache of bf16 entries rounds k and
// v anyway. On a CPU without bf16 dot products it is the same as kF32.
enum class AttentionPrecision { kF32, kBf16 };

// Keys and values of one layer, laid out as prefill attention reads them, so that the slices of a
// prompt do not lay out again what came before. A view of memory it is given; as thread-safe as
// that.
class PackedKeys {
 public:
  struct Shape {
    AttentionPrecision precision = AttentionPrecision::kF32;
    int64_t kv_heads = 0;
    int64_t head_dim = 0;
    int64_t capacity = 0;  // keys per head
  };

  // Floats a PackedKeys of this shape needs.
  static int64_t FloatsFor(const Shape& shape);

  PackedKeys() = default;
  // `memory`: FloatsFor(shape) floats, 64-byte aligned, that outlive this; not read before written.
  PackedKeys(const Shape& shape, float* memory);

  // Appends `count` keys and values to every head: rows of head_dim floats, `row_stride` apart, the
  // heads' `head_stride` apart. REQUIRES: keys() + count <= capacity.
  void Append(const float* k, const float* v, int64_t count, int64_t head_stride,
              int64_t row_stride);

  int64_t keys() const { return keys_; }
  bool bf16() const { return bf16_; }
  // The vector instructions chosen when it was made fix the layout of f32 keys: panels of as many
  // columns, [panel][head_dim][column]. Columns past the last key are not set.
  const float* KeyPanels(int64_t kv_head) const { return f32_keys_ + kv_head * key_head_; }
  // Values [key][padded_head_dim()], zeros behind head_dim; null where they are padded by nature
  // and read where they lie.
  const float* PaddedValues(int64_t kv_head) const {
    return padded_values_ ? f32_values_ + kv_head * value_head_ : nullptr;
  }
  int64_t padded_head_dim() const { return padded_head_dim_; }
  // bf16 keys, [four keys][pair of dimensions][key][2], and values, [pair of keys][dimension][2].
  // The second of a pair that has not come yet is 0; keys past the last are not set, but can be
  // read up to a multiple of 16.
  const uint16_t* Bf16Keys(int64_t kv_head) const { return bf16_keys_ + kv_head * key_head_; }
  const uint16_t* Bf16Values(int64_t kv_head) const { return bf16_values_ + kv_head * value_head_; }

 private:
  void AppendF32(const float* k, const float* v, int64_t kv_head, int64_t key);
  void AppendBf16(const float* k, const float* v, int64_t kv_head, int64_t key);

  bool bf16_ = false;
  bool padded_values_ = false;
  int64_t kv_heads_ = 0;
  int64_t head_dim_ = 0;
  int64_t padded_head_dim_ = 0;
  int64_t columns_ = 0;
  int64_t keys_ = 0;
  int64_t key_head_ = 0;    // elements between heads
  int64_t value_head_ = 0;  // likewise
  float* f32_keys_ = nullptr;
  float* f32_values_ = nullptr;
  uint16_t* bf16_keys_ = nullptr;
  uint16_t* bf16_values_ = nullptr;
};

}  // namespace concertina
