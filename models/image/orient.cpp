#include "models/image/orient.h"

#include <utility>

namespace concertina {
namespace {

// Where a walk over the upright picture is in the stored one.
struct Walk {
  ptrdiff_t start;        // byte offset of the upright top left pixel
  ptrdiff_t step_column;  // per upright column
  ptrdiff_t step_row;
};

Walk MakeWalk(int32_t width, int32_t height, ptrdiff_t stride, uint32_t orientation) {
  const ptrdiff_t right = ptrdiff_t{3} * (width - 1);
  const ptrdiff_t bottom = stride * (height - 1);
  switch (orientation) {
    case 2:
      return {right, -3, stride};
    case 3:
      return {bottom + right, -3, -stride};
    case 4:
      return {bottom, 3, -stride};
    case 5:
      return {0, stride, 3};
    case 6:
      return {bottom, -stride, 3};
    case 7:
      return {bottom + right, -stride, -3};
    case 8:
      return {right, stride, -3};
    default:
      return {0, 3, stride};
  }
}

}  // namespace

RgbImage UprightFromBgr(const uint8_t* bgr, int32_t width, int32_t height, size_t row_stride,
                        uint32_t orientation) {
  const Walk walk = MakeWalk(width, height, static_cast<ptrdiff_t>(row_stride), orientation);
  RgbImage out{width, height, {}};
  if (orientation >= 5 && orientation <= 8) std::swap(out.width, out.height);
  out.pixels.resize(size_t{3} * static_cast<size_t>(width) * static_cast<size_t>(height));
  uint8_t* to = out.pixels.data();
  for (int32_t y = 0; y < out.height; ++y) {
    ptrdiff_t at = walk.start + walk.step_row * y;
    for (int32_t x = 0; x < out.width; ++x, at += walk.step_column, to += 3) {
      to[0] = bgr[at + 2];
      to[1] = bgr[at + 1];
      to[2] = bgr[at];
    }
  }
  return out;
}

}  // namespace concertina
