#include <gtest/gtest.h>

#include <chrono>
#include <ctime>
#include <random>

#include "models/image/decode.h"
#include "models/image/probe.h"
#include "tests/models/image/clean_refusal.h"
#include "tests/models/image/image_test_data.h"

namespace concertina {
namespace {

using testing::Bytes;
using testing::DataPath;
using testing::ExpectCleanRefusal;

constexpr uint32_t kSeed = 20240917;

TEST(HostileImage, EveryTruncationIsRefusedBeforeDecoding) {
  for (const std::string& name : testing::DataImages()) {
    if (name == "trailing.jpg") continue;  // its last bytes are not the picture's
    const Bytes whole = testing::ReadBytes(DataPath(name));
    for (size_t size = 0; size < whole.size(); ++size) {
      const Bytes cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size));
      const auto probe = ProbeImage(cut, ImageLimits());
      ASSERT_FALSE(probe.ok()) << name << " cut to " << size;
      ExpectCleanRefusal(probe.status(), name);
    }
  }
}

TEST(HostileImage, JpegCutToAThirdIsRefused) {
  for (const char* name :
       {"preproc-ref/images/big_640x427.jpg", "bundled-model/images/scene0.jpg"}) {
    Bytes cut = testing::ReadBytes(testing::GoldenPath(name));
    cut.resize(cut.size() / 3);
    const auto image = DecodeImage(cut, ImageLimits());
    ASSERT_FALSE(image.ok()) << name;
    EXPECT_EQ(image.status().message(), "image: JPEG is cut short");
  }
}

TEST(HostileImage, FlippedBytesNeverCrash) {
  std::mt19937 random(kSeed);
  std::printf("seed %u\n", kSeed);
  const std::vector<std::string> names = testing::DataImages();
  int refused = 0;
  for (int i = 0; i < 500; ++i) {
    const std::string& name = names[random() % names.size()];
    Bytes bytes = testing::ReadBytes(DataPath(name));
    const size_t flips = 1 + random() % 8;
    for (size_t flip = 0; flip < flips; ++flip) {
      bytes[random() % bytes.size()] ^= static_cast<uint8_t>(1 + random() % 255);
    }
    const auto image = DecodeImage(bytes, ImageLimits());
    if (image.ok()) {
      EXPECT_EQ(image->pixels.size(),
                size_t{3} * static_cast<size_t>(image->width * image->height));
    } else {
      ExpectCleanRefusal(image.status(), name);
      ++refused;
    }
  }
  EXPECT_GT(refused, 100);
}

TEST(HostileImage, DamagedContentsAreRefused) {
  Bytes bytes = testing::ReadBytes(DataPath("rgb.png"));
  bytes[bytes.size() - 40] ^= 0x55;  // inside the compressed data: its checksum fails
  const auto image = DecodeImage(bytes, ImageLimits());
  ASSERT_FALSE(image.ok());
  EXPECT_EQ(image.status().message(), "image: its contents are damaged");
}

TEST(HostileImage, HugeHeadersCostNothing) {
  // Of this process alone, whatever else the machine does.
  const std::clock_t start = std::clock();
  for (const auto& [width, height] :
       {std::pair{1u, 1u}, {1u, 100000u}, {20000u, 20000u}, {0x7fffffffu, 0x7fffffffu}}) {
    Bytes bytes =
        testing::Concat({testing::PngHeader(width, height),
                         testing::PngChunk("IDAT", Bytes(100000)), testing::PngChunk("IEND", {})});
    const auto image = DecodeImage(bytes, ImageLimits());
    ASSERT_FALSE(image.ok());
    ExpectCleanRefusal(image.status(), std::to_string(width));
  }
  EXPECT_LT(std::clock() - start, CLOCKS_PER_SEC);
}

// The decoder never sees ancillary chunks, however many and however large they claim to inflate.
TEST(HostileImage, AncillaryChunksDoNotReachTheDecoder) {
  const Bytes good = testing::ReadBytes(DataPath("rgb.png"));
  Bytes stuffed(good.begin(), good.begin() + 33);
  for (int i = 0; i < 5000; ++i) {
    for (const char* type : {"iCCP", "zTXt", "tRNS", "gAMA", "acTL"}) {
      const Bytes chunk = testing::PngChunk(type, {'a', 0, 0, 0x78, 0x9c, 0xff, 0xff});
      stuffed.insert(stuffed.end(), chunk.begin(), chunk.end());
    }
  }
  stuffed.insert(stuffed.end(), good.begin() + 33, good.end());
  const auto image = DecodeImage(stuffed, ImageLimits());
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->pixels, testing::DecodeFile(DataPath("rgb.png")).pixels);
}

}  // namespace
}  // namespace concertina
