#include "cache/policies/ranking.h"

#include "absl/strings/str_cat.h"

namespace concertina {

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
