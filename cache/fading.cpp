#include "cache/fading.h"

#include <cmath>
#include <numeric>

namespace concertina {

double FadingHalfLife(std::span<const int32_t> shares) {
  const auto total = std::accumulate(shares.begin(), shares.end(), int64_t{0});
  return static_cast<double>(total) / static_cast<double>(3 * shares.size());
}

std::vector<float> FadingByTurn(std::span<const int64_t> turn_starts, double half_life) {
  std::vector<float> factors(turn_starts.size(), 1.0F);
  for (size_t turn = 0; turn + 2 < turn_starts.size(); ++turn) {
    const auto later = static_cast<double>(turn_starts.back() - turn_starts[turn + 1]);
    factors[turn] = static_cast<float>(std::exp2(-later / half_life));
  }
  return factors;
}

void Fade(std::span<const int64_t> turn_starts, std::span<const float> factors,
          const uint32_t* birth, std::span<float> worth) {
  size_t turn = 0;
  for (size_t i = 0; i < worth.size(); ++i) {
    while (turn + 1 < turn_starts.size() && turn_starts[turn + 1] <= int64_t{birth[i]}) ++turn;
    worth[i] *= factors[turn];
  }
}

}  // namespace concertina
