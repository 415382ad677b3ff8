#include "tests/hostile/pixel_digest.h"

#include "absl/strings/str_cat.h"

namespace concertina::testing {

std::string PixelDigest(const absl::StatusOr<RgbImage>& image) {
  if (!image.ok()) return "refused";
  uint64_t hash = 14695981039346656037U;  // FNV-1a
  for (const uint8_t byte : image->pixels) hash = (hash ^ byte) * 1099511628211U;
  return absl::StrCat(image->width, "x", image->height, " ", absl::Hex(hash));
}

}  // namespace concertina::testing
