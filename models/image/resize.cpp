#include "models/image/resize.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "models/image/resample_table.h"

namespace concertina {
namespace {

constexpr int32_t kHalf = 1 << (kWeightBits - 1);

uint8_t RoundToByte(int32_t sum) {
  return static_cast<uint8_t>(std::clamp(sum >> kWeightBits, 0, 255));
}

// A picture, or a part of one: `left` and `top` say which pixel of the whole its first one is.
struct Part {
  RgbImage image;
  int32_t left = 0;
  int32_t top = 0;
};

// Reads rows and columns by their number in the whole picture.
class View {
 public:
  explicit View(const RgbImage& image) : View(image, 0, 0) {}
  explicit View(const Part& part) : View(part.image, part.left, part.top) {}

  const uint8_t* At(int32_t x, int32_t y) const {
    return pixels_ + (y - top_) * stride_ + ptrdiff_t{3} * (x - left_);
  }

 private:
  View(const RgbImage& image, int32_t left, int32_t top)
      : pixels_(image.pixels.data()), stride_(ptrdiff_t{3} * image.width), left_(left), top_(top) {}

  const uint8_t* pixels_;
  ptrdiff_t stride_;
  int32_t left_;
  int32_t top_;
};

RgbImage MakeImage(int32_t width, int32_t height) {
  RgbImage image{width, height, {}};
  image.pixels.resize(size_t{3} * static_cast<size_t>(width) * static_cast<size_t>(height));
  return image;
}

// Rows [top, top + height) with the columns of `table`.
RgbImage HorizontalPass(const View& from, int32_t top, int32_t height, const ResampleTable& table) {
  RgbImage out = MakeImage(table.outputs(), height);
  uint8_t* to = out.pixels.data();
  for (int32_t y = 0; y < height; ++y) {
    for (int32_t x = 0; x < out.width; ++x, to += 3) {
      const uint8_t* pixel = from.At(table.first(x), top + y);
      int32_t red = kHalf;
      int32_t green = kHalf;
      int32_t blue = kHalf;
      for (int32_t weight : table.weights(x)) {
        red += pixel[0] * weight;
        green += pixel[1] * weight;
        blue += pixel[2] * weight;
        pixel += 3;
      }
      to[0] = RoundToByte(red);
      to[1] = RoundToByte(green);
      to[2] = RoundToByte(blue);
    }
  }
  return out;
}

// Columns [left, left + width) with the rows of `table`; whole rows at a time, so that it
// vectorises.
RgbImage VerticalPass(const View& from, int32_t left, int32_t width, const ResampleTable& table) {
  RgbImage out = MakeImage(width, table.outputs());
  const size_t row_bytes = size_t{3} * static_cast<size_t>(width);
  std::vector<int32_t> sums(row_bytes);
  for (int32_t y = 0; y < out.height; ++y) {
    std::fill(sums.begin(), sums.end(), kHalf);
    int32_t row = table.first(y);
    for (int32_t weight : table.weights(y)) {
      const uint8_t* pixels = from.At(left, row++);
      for (size_t i = 0; i < row_bytes; ++i) sums[i] += pixels[i] * weight;
    }
    uint8_t* to = out.pixels.data() + static_cast<size_t>(y) * row_bytes;
    for (size_t i = 0; i < row_bytes; ++i) to[i] = RoundToByte(sums[i]);
  }
  return out;
}

RgbImage Copy(const View& from, const PixelWindow& window) {
  RgbImage out = MakeImage(window.width, window.height);
  const size_t row_bytes = size_t{3} * static_cast<size_t>(window.width);
  for (int32_t y = 0; y < window.height; ++y) {
    std::memcpy(out.pixels.data() + static_cast<size_t>(y) * row_bytes,
                from.At(window.left, window.top + y), row_bytes);
  }
  return out;
}

}  // namespace

RgbImage ResizePilWindow(const RgbImage& image, int32_t width, int32_t height, ResizeFilter filter,
                         const PixelWindow& window) {
  const bool resize_columns = width != image.width;
  const bool resize_rows = height != image.height;
  if (!resize_columns && !resize_rows) return Copy(View(image), window);
  const auto columns = [&] {
    return ResampleTable(image.width, width, filter, window.left, window.width);
  };
  const auto rows = [&] {
    return ResampleTable(image.height, height, filter, window.top, window.height);
  };
  if (!resize_rows) return HorizontalPass(View(image), window.top, window.height, columns());
  if (!resize_columns) return VerticalPass(View(image), window.left, window.width, rows());

  const ResampleTable column_table = columns();
  const ResampleTable row_table = rows();
  const bool vertical_first =
      height < image.height && int64_t{image.height} - height > 2 * (int64_t{image.width} - width);
  if (vertical_first) {
    const int32_t left = column_table.inputs_begin();
    const Part part{VerticalPass(View(image), left, column_table.inputs_end() - left, row_table),
                    left, 0};
    return HorizontalPass(View(part), 0, window.height, column_table);
  }
  const int32_t top = row_table.inputs_begin();
  const Part part{HorizontalPass(View(image), top, row_table.inputs_end() - top, column_table), 0,
                  top};
  return VerticalPass(View(part), 0, window.width, row_table);
}

RgbImage ResizePil(const RgbImage& image, int32_t width, int32_t height, ResizeFilter filter) {
  return ResizePilWindow(image, width, height, filter, {0, 0, width, height});
}

}  // namespace concertina
