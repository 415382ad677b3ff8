#include "cache/policies/ranking.h"

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
