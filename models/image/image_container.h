#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "models/image/image.h"
#include "models/image/probe.h"

namespace concertina {

// Everything about an image file that is known without decoding it. The spans point into the bytes
// that were parsed.
struct ImageContainer {
  ImageFormat format = ImageFormat::kPng;
  int32_t width = 0;  // as stored
  int32_t height = 0;
  bool grey16 = false;  // PNG: one channel of 16 bits
  // What the decoder gets to see, in order: for PNG the signature and the critical chunks only, for
  // JPEG everything up to the end marker, for WebP the RIFF chunk.
  std::vector<std::span<const uint8_t>> payload;
  std::vector<std::span<const uint8_t>> exif;  // pieces, in order, to be joined
  std::span<const uint8_t> xmp;
};

// The room's parsers. `bytes` begin with the format's signature; sizes are not yet checked against
// limits.
absl::StatusOr<ImageContainer> ParsePng(std::span<const uint8_t> bytes);
absl::StatusOr<ImageContainer> ParseJpeg(std::span<const uint8_t> bytes);
absl::StatusOr<ImageContainer> ParseWebp(std::span<const uint8_t> bytes);

// Picks the parser by signature and applies `limits`. INVALID_ARGUMENT as for ProbeImage.
absl::StatusOr<ImageContainer> ParseImageContainer(std::span<const uint8_t> bytes,
                                                   const ImageLimits& limits);

// Whether `bytes` begin with the characters of `prefix` (at `offset`), its final NUL left out.
template <size_t N>
bool HasPrefix(std::span<const uint8_t> bytes, const char (&prefix)[N], size_t offset = 0) {
  if (bytes.size() < offset || bytes.size() - offset < N - 1) return false;
  for (size_t i = 0; i < N - 1; ++i) {
    if (bytes[offset + i] != static_cast<uint8_t>(prefix[i])) return false;
  }
  return true;
}

}  // namespace concertina
