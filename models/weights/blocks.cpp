#include "models/weights/blocks.h"

#include <cstring>

#include "models/weights/half.h"

namespace concertina {
namespace {

constexpr int64_t kHalf = kWeightBlock / 2;

uint16_t LoadU16(const uint8_t* in) {
  uint16_t value;
  std::memcpy(&value, in, sizeof(value));
  return value;
}

// What a stored type is made of: f16 scale, [f16 minimum,] [u32 fifth bits,] quants.
struct StoredBlock {
  int bits;
  bool minimum;
  int centre;  // without a minimum
  int64_t bytes() const { return 2 + (minimum ? 2 : 0) + kWeightBlock * bits / 8; }
};

std::optional<StoredBlock> StoredBlockOf(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0:
      return StoredBlock{4, false, 8};
    case DType::kQ4_1:
      return StoredBlock{4, true, 0};
    case DType::kQ5_0:
      return StoredBlock{5, false, 16};
    case DType::kQ5_1:
      return StoredBlock{5, true, 0};
    case DType::kQ8_0:
      return StoredBlock{8, false, 128};
    default:
      return std::nullopt;
  }
}

void SplitQuants(const StoredBlock& block, const uint8_t* in, uint8_t* quants) {
  if (block.bits == 8) {
    for (int64_t i = 0; i < kWeightBlock; ++i) quants[i] = static_cast<uint8_t>(in[i] ^ 0x80U);
    return;
  }
  uint32_t fifth_bits = 0;
  if (block.bits == 5) {
    std::memcpy(&fifth_bits, in, sizeof(fifth_bits));
    in += sizeof(fifth_bits);
  }
  for (int64_t i = 0; i < kHalf; ++i) {
    const uint32_t low = (fifth_bits >> i) & 1U;
    const uint32_t high = (fifth_bits >> (i + kHalf)) & 1U;
    quants[i] = static_cast<uint8_t>((in[i] & 0xfU) | (low << 4));
    quants[i + kHalf] = static_cast<uint8_t>((in[i] >> 4U) | (high << 4));
  }
}

}  // namespace

std::optional<BlockFormat> BlockFormatOf(DType dtype) {
  const std::optional<StoredBlock> block = StoredBlockOf(dtype);
  if (!block) return std::nullopt;
  return BlockFormat{.bits = block->bits == 4 ? 4 : 8,
                     .minima = block->minimum,
                     .centre = static_cast<float>(block->centre)};
}

BlockFormat CommonFormat(const BlockFormat& a, const BlockFormat& b) {
  if (a == b) return a;
  return {.bits = a.bits == 4 && b.bits == 4 ? 4 : 8, .minima = true, .centre = 0};
}

void SplitBlocks(DType dtype, const uint8_t* in, int64_t elements, const BlockFormat& format,
                 const BlockRows& out) {
  const std::optional<StoredBlock> block = StoredBlockOf(dtype);
  if (!block) return;
  for (int64_t b = 0; b < elements / kWeightBlock; ++b) {
    const uint16_t scale = LoadU16(in);
    out.scales[b] = scale;
    if (format.minima) {
      out.minima[b] = block->minimum
                          ? LoadU16(in + 2)
                          : FloatToHalf(HalfToFloat(scale) * static_cast<float>(-block->centre));
    }
    SplitQuants(*block, in + (block->minimum ? 4 : 2), out.quants + b * kWeightBlock);
    in += block->bytes();
  }
}

}  // namespace concertina
