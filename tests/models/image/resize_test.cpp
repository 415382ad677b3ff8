#include "models/image/resize.h"

#include <gtest/gtest.h>

#include "models/image/resample_table.h"
#include "tests/models/image/image_test_data.h"

namespace concertina {
namespace {

// The same bytes as gen_extra.py makes.
RgbImage Noise(int32_t width, int32_t height) {
  RgbImage image{width, height, {}};
  uint32_t state = static_cast<uint32_t>(width * 65536 + height);
  for (int64_t i = 0; i < int64_t{3} * width * height; ++i) {
    state = state * 1664525 + 1013904223;
    image.pixels.push_back(static_cast<uint8_t>(state >> 24));
  }
  return image;
}

ResizeFilter FilterOf(int pil_number) {
  if (pil_number == 1) return ResizeFilter::kLanczos;
  return pil_number == 2 ? ResizeFilter::kBilinear : ResizeFilter::kBicubic;
}

TEST(ResizePil, EqualsPillowBitForBit) {
  const auto rows = testing::ReadJson(testing::DataPath("resized.json"));
  ASSERT_EQ(rows.size(), 96u);
  int vertical_first = 0;
  for (const auto& row : rows) {
    const int32_t w = row[0], h = row[1], width = row[2], height = row[3];
    const RgbImage out = ResizePil(Noise(w, h), width, height, FilterOf(row[4]));
    EXPECT_EQ(out.width, width);
    EXPECT_EQ(out.height, height);
    EXPECT_EQ(testing::Crc32(out.pixels), row[5].get<uint32_t>()) << row;
    vertical_first += height < h && width != w && h - height > 2 * (w - width);
  }
  EXPECT_GT(vertical_first, 10);  // both orders of the passes were seen
  EXPECT_LT(vertical_first, 86);
}

TEST(ResizePilWindow, EqualsThatPartOfTheWhole) {
  struct Shape {
    int32_t w, h, width, height;
  };
  for (const Shape& s : {Shape{40, 30, 61, 23},
                         {20, 90, 25, 31},
                         {33, 20, 33, 50},
                         {33, 20, 9, 20},
                         {12, 12, 12, 12}}) {
    const RgbImage image = Noise(s.w, s.h);
    const RgbImage whole = ResizePil(image, s.width, s.height, ResizeFilter::kBicubic);
    const PixelWindow window{s.width / 3, s.height / 4, s.width / 2, s.height / 2};
    const RgbImage part = ResizePilWindow(image, s.width, s.height, ResizeFilter::kBicubic, window);
    ASSERT_EQ(part.width, window.width);
    ASSERT_EQ(part.height, window.height);
    for (int32_t y = 0; y < part.height; ++y) {
      const auto from =
          whole.pixels.begin() + 3 * ((window.top + y) * ptrdiff_t{whole.width} + window.left);
      EXPECT_TRUE(std::equal(from, from + 3 * part.width,
                             part.pixels.begin() + ptrdiff_t{3} * y * part.width))
          << s.w << "x" << s.h << " row " << y;
    }
  }
}

TEST(ResizePilWindow, CostsTheWindowOnly) {
  // The whole would be 336 by 2.7 million pixels.
  const RgbImage part = ResizePilWindow(Noise(2, 16384), 336, 2752512, ResizeFilter::kBicubic,
                                        {0, 1376088, 336, 336});
  EXPECT_EQ(part.pixels.size(), 3u * 336 * 336);
}

TEST(ResampleTable, WeightsSumToOne) {
  for (int filter = 1; filter <= 3; ++filter) {
    const ResampleTable table(1000, 77, FilterOf(filter), 10, 50);
    ASSERT_EQ(table.outputs(), 50);
    for (int32_t i = 0; i < table.outputs(); ++i) {
      int64_t sum = 0;
      for (int32_t weight : table.weights(i)) sum += weight;
      EXPECT_NEAR(static_cast<double>(sum), 1 << kWeightBits, 100);
      EXPECT_GE(table.first(i), table.inputs_begin());
      EXPECT_LE(table.first(i) + static_cast<int32_t>(table.weights(i).size()), table.inputs_end());
    }
  }
}

}  // namespace
}  // namespace concertina
