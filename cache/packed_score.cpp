#include "cache/packed_score.h"

#include <bit>
#include <cmath>

namespace concertina {
namespace {

// Code e << 10 | m stands for (1 + m / 1024) x 2^(e - 41), and with e = 0 for m / 1024 x 2^-40: a
// float with 13 mantissa bits cut off and another exponent bias.
constexpr int kMantissaBits = 10;
constexpr int kFloatMantissaBits = 23;
constexpr int kCut = kFloatMantissaBits - kMantissaBits;
constexpr uint32_t kExponentShift = 127 - 41;
constexpr float kSmallestNormal = 0x1p-40F;
constexpr float kSmallestStep = 0x1p-50F;
constexpr uint16_t kLargest = 0xffff;

}  // namespace

uint16_t PackScore(float score) {
  if (!(score > 0.0F)) {
    return 0;
  }
  if (score >= UnpackScore(kLargest)) {
    return kLargest;
  }
  if (score < kSmallestNormal) {
    return static_cast<uint16_t>(std::nearbyint(score / kSmallestStep));
  }
  // To nearest, ties to even; a carry into the exponent gives the next code, as it must.
  uint32_t bits = std::bit_cast<uint32_t>(score);
  bits += (1U << (kCut - 1)) - 1 + ((bits >> kCut) & 1U);
  return static_cast<uint16_t>((bits >> kCut) - (kExponentShift << kMantissaBits));
}

float UnpackScore(uint16_t packed) {
  if (packed < (1U << kMantissaBits)) {
    return static_cast<float>(packed) * kSmallestStep;
  }
  return std::bit_cast<float>((uint32_t{packed} + (kExponentShift << kMantissaBits)) << kCut);
}

}  // namespace concertina
