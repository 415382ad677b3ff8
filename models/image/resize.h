#pragma once

#include <cstdint>

#include "models/image/image.h"

namespace concertina {

// Antialiasing filters, with Pillow's meaning (support 1, 2 and 3 input pixels, a = -0.5 for
// bicubic).
enum class ResizeFilter { kBilinear, kBicubic, kLanczos };

// A part of a resized picture, in its pixels.
struct PixelWindow {
  int32_t left = 0;
  int32_t top = 0;
  int32_t width = 0;
  int32_t height = 0;
};

// Pillow's Image.resize((width, height), filter) on 8-bit RGB, bit for bit: two passes with weights
// rounded to 22 fractional bits and an 8-bit picture in between. Passes that change nothing are
// left out; the vertical one goes first when height < H and H - height > 2 * (W - width), as in
// Pillow 13. REQUIRES: sizes of at least 1, image.pixels of width * height * 3 bytes. Thread-safe.
RgbImage ResizePil(const RgbImage& image, int32_t width, int32_t height, ResizeFilter filter);

// The `window` of ResizePil's result, without computing the rest: time and memory depend on the
// window and the input, not on width * height. REQUIRES: the window is not empty and lies inside
// the result.
RgbImage ResizePilWindow(const RgbImage& image, int32_t width, int32_t height, ResizeFilter filter,
                         const PixelWindow& window);

}  // namespace concertina
