#pragma once

#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "models/image/image.h"

namespace concertina {

enum class ImageFormat { kPng, kJpeg, kWebp };

struct ImageProbe {
  ImageFormat format;
  int32_t width;  // as stored, before any EXIF orientation
  int32_t height;
};

// Says what `bytes` hold by walking the container, without decoding anything: linear in the number
// of bytes, no allocation that depends on them. Only PNG, JPEG (Huffman coded, 8 bit) and still
// WebP exist here. The file must be complete up to its end marker, since a JPEG that was cut short
// decodes "successfully" to grey. Thread-safe.
// INVALID_ARGUMENT, with a text that names no library and no path: anything else, or over `limits`.
absl::StatusOr<ImageProbe> ProbeImage(std::span<const uint8_t> bytes, const ImageLimits& limits);

}  // namespace concertina
