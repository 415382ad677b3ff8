#pragma once

#include <cstddef>
#include <cstdint>

#include "models/image/image.h"

namespace concertina {

// Copies a stored picture of BGR pixels into an upright RGB one. `orientation` is EXIF's: 1
// upright, 2 mirrored, 3 upside down, 4 flipped, 5 transposed, 6 needs a quarter turn clockwise, 7
// transversed, 8 needs one counter-clockwise; any other value means 1. 5 to 8 exchange width and
// height. `row_stride` is the number of bytes from one row of `bgr` to the next. Source:
// PIL.ImageOps.exif_transpose.
RgbImage UprightFromBgr(const uint8_t* bgr, int32_t width, int32_t height, size_t row_stride,
                        uint32_t orientation);

}  // namespace concertina
