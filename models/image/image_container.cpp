#include "models/image/image_container.h"

#include "absl/strings/str_cat.h"

namespace concertina {
namespace {

absl::StatusOr<ImageContainer> ParseBySignature(std::span<const uint8_t> bytes) {
  if (HasPrefix(bytes, "\x89PNG\r\n\x1a\n")) return ParsePng(bytes);
  if (HasPrefix(bytes, "\xff\xd8\xff")) return ParseJpeg(bytes);
  if (HasPrefix(bytes, "RIFF") && HasPrefix(bytes, "WEBP", 8)) return ParseWebp(bytes);
  return absl::InvalidArgumentError("image: not a PNG, JPEG or WebP file");
}

}  // namespace

absl::StatusOr<ImageContainer> ParseImageContainer(std::span<const uint8_t> bytes,
                                                   const ImageLimits& limits) {
  if (bytes.empty()) return absl::InvalidArgumentError("image: no bytes");
  if (static_cast<int64_t>(bytes.size()) > limits.max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("image: ", bytes.size(), " bytes, at most ",
                                                   limits.max_bytes, " are allowed"));
  }
  absl::StatusOr<ImageContainer> container = ParseBySignature(bytes);
  if (!container.ok()) return container;
  const int32_t width = container->width;
  const int32_t height = container->height;
  if (width < limits.min_side || height < limits.min_side || width > limits.max_side ||
      height > limits.max_side) {
    return absl::InvalidArgumentError(absl::StrCat("image: ", width, " by ", height,
                                                   " pixels, each side must be ", limits.min_side,
                                                   " to ", limits.max_side));
  }
  if (int64_t{width} * height > limits.max_pixels) {
    return absl::InvalidArgumentError(absl::StrCat("image: ", width, " by ", height,
                                                   " pixels, at most ", limits.max_pixels,
                                                   " pixels are allowed"));
  }
  return container;
}

}  // namespace concertina
