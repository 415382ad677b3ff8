#pragma once

#include <bit>
#include <cstdint>

namespace concertina {

// A positive scale in eight bits, five of exponent and three of mantissa: byte e << 3 | m stands
// for (1 + m / 8) x 2^(e - 24), from 2^-24 to 240. There is no zero: what is not larger than the
// smallest scale needs none.
constexpr float kLargestSmallScale = 240.0F;

// Of byte 0, as float bits; a byte more is kSmallScaleStep more of them.
constexpr uint32_t kSmallScaleBase = (127U - 24U) << 23;
constexpr int kSmallScaleShift = 20;

inline float FromSmallScale(uint8_t byte) {
  return std::bit_cast<float>((uint32_t{byte} << kSmallScaleShift) + kSmallScaleBase);
}

// The byte of the least scale not below `scale`; the ends for what lies outside, NaN the smallest.
inline uint8_t ToSmallScale(float scale) {
  if (!(scale > FromSmallScale(0))) return 0;
  if (!(scale < kLargestSmallScale)) return 0xff;
  constexpr uint32_t kCut = (1U << kSmallScaleShift) - 1;
  return static_cast<uint8_t>((std::bit_cast<uint32_t>(scale) + kCut - kSmallScaleBase) >>
                              kSmallScaleShift);
}

}  // namespace concertina
