#include "models/weights/dequantize.h"

#include <bit>
#include <cstring>

#include "models/weights/checked.h"
#include "models/weights/half.h"

namespace concertina {
namespace {

static_assert(std::endian::native == std::endian::little, "the file formats are little-endian");

// Elements per block of ggml's Q formats. The first half of a block sits in the low nibbles of its
// 16 bytes, the second half in the high ones.
constexpr int kBlock = 32;
constexpr int kHalf = kBlock / 2;

template <typename T>
inline T Load(const uint8_t* in) {
  T value;
  std::memcpy(&value, in, sizeof(T));
  return value;
}

void FromF16(const uint8_t* in, int64_t elements, float* out) {
  for (int64_t i = 0; i < elements; ++i) out[i] = HalfToFloat(Load<uint16_t>(in + 2 * i));
}

void FromBf16(const uint8_t* in, int64_t elements, float* out) {
  for (int64_t i = 0; i < elements; ++i) {
    out[i] = std::bit_cast<float>(static_cast<uint32_t>(Load<uint16_t>(in + 2 * i)) << 16);
  }
}

// Layout: f16 d, [f16 m if kHasMinimum,] 16 bytes of nibbles. Without m values are centred on 8.
template <bool kHasMinimum>
void FromQ4(const uint8_t* in, int64_t elements, float* out) {
  constexpr int kHeader = kHasMinimum ? 4 : 2;
  for (int64_t block = 0; block < elements / kBlock; ++block) {
    const float d = HalfToFloat(Load<uint16_t>(in));
    const float m = kHasMinimum ? HalfToFloat(Load<uint16_t>(in + 2)) : 0.0F;
    constexpr int kCentre = kHasMinimum ? 0 : 8;
    for (int j = 0; j < kHalf; ++j) {
      const int q = in[kHeader + j];
      const float low = static_cast<float>((q & 0xf) - kCentre) * d;
      const float high = static_cast<float>((q >> 4) - kCentre) * d;
      out[j] = kHasMinimum ? low + m : low;
      out[j + kHalf] = kHasMinimum ? high + m : high;
    }
    in += kHeader + kHalf;
    out += kBlock;
  }
}

// Layout: f16 d, [f16 m if kHasMinimum,] u32 fifth bits (bit i for element i), 16 bytes of nibbles.
// Without m values are centred on 16.
template <bool kHasMinimum>
void FromQ5(const uint8_t* in, int64_t elements, float* out) {
  constexpr int kHeader = kHasMinimum ? 4 : 2;
  for (int64_t block = 0; block < elements / kBlock; ++block) {
    const float d = HalfToFloat(Load<uint16_t>(in));
    const float m = kHasMinimum ? HalfToFloat(Load<uint16_t>(in + 2)) : 0.0F;
    const uint32_t fifth_bits = Load<uint32_t>(in + kHeader);
    constexpr int kCentre = kHasMinimum ? 0 : 16;
    for (int j = 0; j < kHalf; ++j) {
      const int q = in[kHeader + 4 + j];
      const int low_fifth = static_cast<int>((fifth_bits >> j) & 1U) << 4;
      const int high_fifth = static_cast<int>((fifth_bits >> (j + kHalf)) & 1U) << 4;
      const float low = static_cast<float>(((q & 0xf) | low_fifth) - kCentre) * d;
      const float high = static_cast<float>(((q >> 4) | high_fifth) - kCentre) * d;
      out[j] = kHasMinimum ? low + m : low;
      out[j + kHalf] = kHasMinimum ? high + m : high;
    }
    in += kHeader + 4 + kHalf;
    out += kBlock;
  }
}

// Layout: f16 d, 32 signed bytes.
void FromQ8(const uint8_t* in, int64_t elements, float* out) {
  for (int64_t block = 0; block < elements / kBlock; ++block) {
    const float d = HalfToFloat(Load<uint16_t>(in));
    for (int j = 0; j < kBlock; ++j) {
      out[j] = static_cast<float>(static_cast<int8_t>(in[2 + j])) * d;
    }
    in += 2 + kBlock;
    out += kBlock;
  }
}

}  // namespace

std::optional<BlockLayout> LayoutOf(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return BlockLayout{1, 4};
    case DType::kF16:
    case DType::kBf16:
      return BlockLayout{1, 2};
    case DType::kQ4_0:
      return BlockLayout{kBlock, 18};
    case DType::kQ4_1:
      return BlockLayout{kBlock, 20};
    case DType::kQ5_0:
      return BlockLayout{kBlock, 22};
    case DType::kQ5_1:
      return BlockLayout{kBlock, 24};
    case DType::kQ8_0:
      return BlockLayout{kBlock, 34};
    case DType::kOther:
      break;
  }
  return std::nullopt;
}

std::string_view DTypeName(DType dtype) {
  constexpr std::string_view kNames[] = {"F32",  "F16",  "BF16", "Q4_0", "Q4_1",
                                         "Q5_0", "Q5_1", "Q8_0", "other"};
  return kNames[static_cast<size_t>(dtype)];
}

std::optional<uint64_t> CheckedBytes(DType dtype, const std::vector<int64_t>& shape) {
  const std::optional<BlockLayout> layout = LayoutOf(dtype);
  const std::optional<int64_t> elements = CheckedElements(shape);
  if (!layout || !elements) return std::nullopt;
  const int64_t row_length = shape.empty() ? 1 : shape.back();
  if (row_length % layout->elements != 0) return std::nullopt;
  return CheckedMul(static_cast<uint64_t>(*elements / layout->elements),
                    static_cast<uint64_t>(layout->bytes));
}

void Dequantize(DType dtype, const uint8_t* in, int64_t elements, float* out) {
  if (elements == 0) return;
  switch (dtype) {
    case DType::kF32:
      std::memcpy(out, in, static_cast<size_t>(elements) * sizeof(float));
      return;
    case DType::kF16:
      return FromF16(in, elements, out);
    case DType::kBf16:
      return FromBf16(in, elements, out);
    case DType::kQ4_0:
      return FromQ4<false>(in, elements, out);
    case DType::kQ4_1:
      return FromQ4<true>(in, elements, out);
    case DType::kQ5_0:
      return FromQ5<false>(in, elements, out);
    case DType::kQ5_1:
      return FromQ5<true>(in, elements, out);
    case DType::kQ8_0:
      return FromQ8(in, elements, out);
    case DType::kOther:
      return;
  }
}

}  // namespace concertina
