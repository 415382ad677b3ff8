#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "models/image/image.h"

namespace concertina::testing {

// Size and a hash of the pixels, or "refused".
std::string PixelDigest(const absl::StatusOr<RgbImage>& image);

}  // namespace concertina::testing
