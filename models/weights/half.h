#pragma once

#include <bit>
#include <cstdint>

namespace concertina {

// IEEE binary16 to binary32 without branches, so that loops over it vectorise, and without
// subnormal operands, so that it is right in flush-to-zero mode too.
inline float HalfToFloat(uint16_t half) {
  constexpr uint32_t kExponentShift = 127 - 15;
  const uint32_t magnitude = static_cast<uint32_t>(half & 0x7fffU) << 13;
  const uint32_t normal = magnitude + (kExponentShift << 23);
  const uint32_t infinite_or_nan = magnitude | 0x7f800000U;
  // A subnormal is mantissa * 2^-24: put the mantissa under the exponent of 2^-14, subtract 2^-14.
  constexpr uint32_t kSmallestNormal = (kExponentShift + 1) << 23;
  const float subnormal_value =
      std::bit_cast<float>(magnitude + kSmallestNormal) - std::bit_cast<float>(kSmallestNormal);
  const uint32_t subnormal = std::bit_cast<uint32_t>(subnormal_value);
  uint32_t bits = magnitude >= (0x7c00U << 13) ? infinite_or_nan : normal;
  bits = magnitude < (0x0400U << 13) ? subnormal : bits;
  return std::bit_cast<float>(bits | static_cast<uint32_t>(half & 0x8000U) << 16);
}

// binary32 to binary16: to nearest, ties to even; too large becomes infinite, NaN stays NaN.
inline uint16_t FloatToHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000U);
  const uint32_t magnitude = bits & 0x7fffffffU;
  constexpr uint32_t kTooLarge = (127U + 16U) << 23;        // 2^16
  constexpr uint32_t kSmallestNormal = (127U - 14U) << 23;  // 2^-14
  if (magnitude > 0x7f800000U) return static_cast<uint16_t>(sign | 0x7e00U);
  if (magnitude >= kTooLarge) return static_cast<uint16_t>(sign | 0x7c00U);
  if (magnitude < kSmallestNormal) {
    // Adding 0.5 puts the units of a subnormal, 2^-24, into the last bit of the mantissa.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000U));
  }
  const uint32_t rounded = magnitude + 0xfffU + ((magnitude >> 13) & 1U);
  return static_cast<uint16_t>(sign | ((rounded - ((127U - 15U) << 23)) >> 13));
}

}  // namespace concertina
