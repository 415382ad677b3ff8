#include "models/image/decode.h"

#include <gtest/gtest.h>

#include "models/image/exif.h"
#include "models/image/orient.h"
#include "models/weights/safetensors.h"
#include "tests/models/image/image_test_data.h"

namespace concertina {
namespace {

using testing::Bytes;
using testing::DataPath;
using testing::GoldenPath;

// OpenCV converts CMYK with other rounding; it never hands out the four channels.
int Tolerance(const std::string& file) { return file == "cmyk.jpg" ? 2 : 0; }

TEST(DecodeImage, EqualsPillowOnEveryKind) {
  const Bytes expected = testing::ReadBytes(DataPath("expected.bin"));
  const auto index = testing::ReadJson(DataPath("expected.json"));
  ASSERT_GE(index.size(), 40u);
  for (const auto& row : index) {
    const std::string file = row.at("file");
    const RgbImage image = testing::DecodeFile(DataPath(file));
    EXPECT_EQ(image.width, row.at("width")) << file;
    EXPECT_EQ(image.height, row.at("height")) << file;
    const auto begin = expected.begin() + row.at("offset").get<ptrdiff_t>();
    const Bytes want(begin, begin + int64_t{3} * image.width * image.height);
    EXPECT_LE(testing::MaxDifference(image.pixels, want), Tolerance(file)) << file;
  }
}

TEST(DecodeImage, EqualsTheGoldenPictures) {
  auto goldens = SafetensorsFile::Open(GoldenPath("preproc-ref/golden.safetensors"));
  ASSERT_TRUE(goldens.ok()) << goldens.status();
  int compared = 0;
  for (const TensorInfo& tensor : (*goldens)->tensors()) {
    if (!tensor.name.starts_with("decoded/")) continue;
    const std::string file = tensor.name.substr(8);
    const RgbImage image = testing::DecodeFile(GoldenPath("preproc-ref/images/" + file));
    const auto want = (*goldens)->ReadInts(tensor.name);
    ASSERT_TRUE(want.ok()) << want.status();
    // Large pictures are stored with every 7th pixel only.
    const int32_t step = tensor.shape[0] == image.height ? 1 : 7;
    size_t at = 0;
    size_t wrong = 0;
    for (int32_t y = 0; y < image.height; y += step) {
      for (int32_t x = 0; x < image.width; x += step) {
        for (int32_t c = 0; c < 3; ++c, ++at) {
          ASSERT_LT(at, want->size()) << file;
          wrong += image.pixels[static_cast<size_t>((y * image.width + x) * 3 + c)] != (*want)[at];
        }
      }
    }
    EXPECT_EQ(at, want->size()) << file;
    EXPECT_EQ(wrong, 0u) << file;
    ++compared;
  }
  EXPECT_EQ(compared, 8);
}

TEST(DecodeImage, AppliesAllEightOrientations) {
  const RgbImage upright = testing::DecodeFile(DataPath("exif1.jpg"));
  const int32_t w = upright.width;
  const int32_t h = upright.height;
  for (int orientation = 1; orientation <= 9; ++orientation) {
    const RgbImage image =
        testing::DecodeFile(DataPath("exif" + std::to_string(orientation) + ".jpg"));
    const bool turned = orientation >= 5 && orientation <= 8;
    ASSERT_EQ(image.width, turned ? h : w) << orientation;
    ASSERT_EQ(image.height, turned ? w : h) << orientation;
    for (int32_t y = 0; y < h; ++y) {
      for (int32_t x = 0; x < w; ++x) {
        // Where EXIF's table says the stored pixel (x, y) is shown.
        const bool right_to_left = orientation == 2 || orientation == 3;
        const bool bottom_up = orientation == 3 || orientation == 4;
        int32_t to_x = right_to_left ? w - 1 - x : x;
        int32_t to_y = bottom_up ? h - 1 - y : y;
        if (turned) {
          to_x = orientation == 5 || orientation == 8 ? y : h - 1 - y;
          to_y = orientation == 5 || orientation == 6 ? x : w - 1 - x;
        }
        for (int32_t c = 0; c < 3; ++c) {
          ASSERT_EQ(image.pixels[static_cast<size_t>((to_y * image.width + to_x) * 3 + c)],
                    upright.pixels[static_cast<size_t>((y * w + x) * 3 + c)])
              << "orientation " << orientation << " at " << x << ", " << y;
        }
      }
    }
  }
}

TEST(UprightFromBgr, SkipsRowPadding) {
  const Bytes stored = {3, 2, 1, 99, 6, 5, 4, 99};  // one column, two rows, a byte of padding each
  EXPECT_EQ(UprightFromBgr(stored.data(), 1, 2, 4, 1).pixels, (Bytes{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(UprightFromBgr(stored.data(), 1, 2, 4, 3).pixels, (Bytes{4, 5, 6, 1, 2, 3}));
}

TEST(Exif, ReadsOnlyWhatIsThere) {
  const Bytes little = testing::Concat(
      {testing::Text("II*"), {0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0}});
  EXPECT_EQ(OrientationFromExif(little), 6u);
  const Bytes prefixed = testing::Concat({testing::Text("Exif"), {0, 0}, little});
  EXPECT_EQ(OrientationFromExif(prefixed), 6u);
  for (size_t size = 0; size < little.size(); ++size) {
    EXPECT_EQ(OrientationFromExif(std::span(little).first(size)), std::nullopt) << size;
  }
  Bytes far = little;
  far[7] = 0xff;  // directory beyond the end
  EXPECT_EQ(OrientationFromExif(far), std::nullopt);
  Bytes array = little;
  array[14] = 2;  // two values are no orientation
  EXPECT_EQ(OrientationFromExif(array), std::nullopt);
  Bytes many = little;
  many[9] = 0xff;  // more entries announced than there are
  EXPECT_EQ(OrientationFromExif(many), 6u);
}

TEST(Exif, ReadsXmp) {
  EXPECT_EQ(OrientationFromXmp(testing::Text("<a tiff:Orientation=\"8\"/>")), 8u);
  EXPECT_EQ(OrientationFromXmp(testing::Text("tiff:Orientation tiff:Orientation>3<")), 3u);
  EXPECT_EQ(OrientationFromXmp(testing::Text("tiff:Orientation=\"")), std::nullopt);
  EXPECT_EQ(OrientationFromXmp({}), std::nullopt);
}

TEST(DecodeImage, LeavesNothingOfAnEarlierImage) {
  const Bytes good = testing::ReadBytes(DataPath("rgb.png"));
  const auto first = DecodeImage(good, ImageLimits());
  ASSERT_TRUE(first.ok());
  for (const char* name : {"rgb.png", "sampling444.jpg", "lossless.webp"}) {
    Bytes cut = testing::ReadBytes(DataPath(name));
    cut.resize(cut.size() * 2 / 3);
    EXPECT_FALSE(DecodeImage(cut, ImageLimits()).ok()) << name;
    const auto again = DecodeImage(good, ImageLimits());
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(again->pixels, first->pixels) << name;
  }
}

TEST(ConfigureOpenCv, KeepsDecodingWorking) {
  ConfigureOpenCv(ImageLimits());
  EXPECT_STREQ(std::getenv("OPENCV_IO_MAX_IMAGE_PIXELS"), "16777216");
  EXPECT_EQ(testing::DecodeFile(DataPath("rgb.png")).width, 25);
}

}  // namespace
}  // namespace concertina
