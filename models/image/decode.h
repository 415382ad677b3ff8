#pragma once

#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "models/image/image.h"

namespace concertina {

// Decodes an untrusted PNG, JPEG or WebP file into what Pillow's exif_transpose and convert("RGB")
// give: upright by EXIF (else XMP) orientation, alpha dropped and not blended, palettes expanded,
// grey replicated, 16-bit grey clamped and 16-bit colour cut to the high byte. Bit for bit, except
// for CMYK JPEG, where the conversion to RGB differs by a few units. INVALID_ARGUMENT: ProbeImage's
// reasons, or damaged contents. Texts never come from a library. Never throws; thread-safe; peak
// memory about 6 bytes a pixel beside the decoder's own.
absl::StatusOr<RgbImage> DecodeImage(std::span<const uint8_t> bytes, const ImageLimits& limits);

// Process-wide settings of the decoding library, for main to call before anything else: one thread,
// no log lines of its own, and `limits.max_pixels` exported as OPENCV_IO_MAX_IMAGE_PIXELS unless
// set. OpenCV 4.6 reads that variable while it is being loaded, so the export only reaches
// processes started from this one; a launcher that wants the second guard here sets it. DecodeImage
// does not depend on it: it has compared the header with its limits before OpenCV sees a byte.
void ConfigureOpenCv(const ImageLimits& limits);

}  // namespace concertina
