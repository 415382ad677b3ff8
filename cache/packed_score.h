#pragma once

#include <cstdint>

// The 16-bit form in which an idle entry keeps S, the attention it has received: an unsigned float
// with 6 exponent and 10 mantissa bits, covering [2^-40, 2^23) with a relative error of at most
// 2^-11, and smaller values down to 2^-50 with less precision. Order is preserved: a < b implies
// Pack(a) <= Pack(b).

namespace concertina {

// Rounds to nearest; negative values and NaN give 0, values beyond the range the largest code.
uint16_t PackScore(float score);

// Exact: PackScore(UnpackScore(x)) == x for every x.
float UnpackScore(uint16_t packed);

}  // namespace concertina
