#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace concertina::bench {

// Pixels. Each side 2 to 16,384: what a server takes.
struct PictureSize {
  int width = 0;
  int height = 0;
};

// "640x480". INVALID_ARGUMENT for anything else.
absl::StatusOr<PictureSize> ParsePictureSize(const std::string& text);

// A PNG of coloured rectangles that depend on the seed: two seeds make different files, so that no
// cache knows the picture.
absl::StatusOr<std::string> MakePicture(PictureSize size, uint64_t seed);

}  // namespace concertina::bench
