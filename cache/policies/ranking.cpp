#include "cache/policies/ranking.h"

#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "cache/anchors.h"

namespace concertina {

int32_t LeastAttended(const DecodeView& head) {
  if (head.births.empty()) return LowestBefore(head.scores, std::max(1, head.cap / 2));
  std::vector<float> mean(head.scores.begin(), head.scores.end());
  for (size_t i = 0; i < mean.size(); ++i) {
    mean[i] /= static_cast<float>(head.births.back() + 1 - head.births[i]);
  }
  return LowestBefore(mean, std::max(1, head.cap / 4));
}

std::vector<int32_t> LeastAttended(const DecodeView& head, int32_t count) {
  const auto entries = static_cast<int32_t>(head.scores.size());
  const bool packed = !head.births.empty();
  // The newest that stay are a part of the cap, which falls with every victim.
  const auto end = [&](int32_t gone) {
    return entries - std::max(1, (entries - 1 - gone) / (packed ? 4 : 2));
  };
  std::vector<float> worth(head.scores.begin(), head.scores.begin() + end(count - 1));
  for (size_t i = 0; i < worth.size(); ++i) {
    if (packed) worth[i] /= static_cast<float>(head.births.back() + 1 - head.births[i]);
    if (std::isnan(worth[i])) worth[i] = std::numeric_limits<float>::infinity();
  }
  std::vector<int32_t> lowest(worth.size() - 1);
  std::iota(lowest.begin(), lowest.end(), 1);
  // Beside the victims, entries may be found that may not go yet.
  const auto found = static_cast<std::ptrdiff_t>(
      std::min(lowest.size(), static_cast<size_t>(count + end(count - 1) - end(0))));
  std::ranges::partial_sort(lowest, lowest.begin() + found, [&](int32_t a, int32_t b) {
    return std::pair(worth[a], a) < std::pair(worth[b], b);
  });
  std::vector<int32_t> victims;
  for (int32_t gone = 0; gone < count; ++gone) {
    const auto victim =
        std::ranges::find_if(lowest, [&](int32_t index) { return index < end(gone); });
    victims.push_back(*victim);
    lowest.erase(victim);
  }
  return victims;
}

absl::StatusOr<double> SlopeOf(const PolicyOptions& options) {
  constexpr double kDefault = 2.5;
  const double slope_r = options.slope_r.value_or(kDefault);
  if (!(slope_r >= 1.0 / 64 && slope_r <= 64)) {
    return absl::InvalidArgumentError(
        absl::StrCat("slope_r must be between 1/64 and 64, not ", slope_r));
  }
  return slope_r;
}

}  // namespace concertina
