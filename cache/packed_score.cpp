#include "cache/packed_score.h"

#include <cmath>

namespace concertina {
namespace {

// Code e << 10 | m stands for (1024 + m) x 2^(e - kBias), and with e = 0 for m x 2^(1 - kBias).
constexpr int kMantissaBits = 10;
constexpr int kBias = 51;
constexpr uint16_t kLargest = 0xffff;

}  // namespace

uint16_t PackScore(float score) {
  if (!(score > 0.0F)) {
    return 0;
  }
  if (score >= UnpackScore(kLargest)) {
    return kLargest;
  }
  int exponent = 0;
  std::frexp(score, &exponent);  // score in [2^(exponent - 1), 2^exponent)
  int code_exponent = exponent - 1 - kMantissaBits + kBias;
  code_exponent = code_exponent < 1 ? 1 : code_exponent;
  // In units of the code's last place; a carry into the next exponent is the next code, as it must
  // be.
  const auto units =
      static_cast<uint32_t>(std::nearbyint(std::ldexp(score, kBias - code_exponent)));
  const uint32_t code = (static_cast<uint32_t>(code_exponent - 1) << kMantissaBits) + units;
  return static_cast<uint16_t>(code);
}

float UnpackScore(uint16_t packed) {
  const int exponent = packed >> kMantissaBits;
  const int mantissa = packed & ((1 << kMantissaBits) - 1);
  if (exponent == 0) {
    return std::ldexp(static_cast<float>(mantissa), 1 - kBias);
  }
  return std::ldexp(static_cast<float>((1 << kMantissaBits) + mantissa), exponent - kBias);
}

}  // namespace concertina
