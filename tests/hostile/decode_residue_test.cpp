// A damaged picture shows nothing of the one decoded before it: it is refused, or gives exactly
// what a process gives that has never seen another picture.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <random>

#include "models/image/decode.h"
#include "tests/hostile/campaign.h"
#include "tests/hostile/hostile_picture.h"
#include "tests/hostile/pixel_digest.h"
#include "tests/models/weights/test_files.h"

namespace concertina::testing {
namespace {

std::string InFreshProcess(const std::string& path) {
  const std::string command =
      std::string(CONCERTINA_DECODE_PICTURE) + " '" + path + "' 2>/dev/null";
  FILE* pipe = popen(command.c_str(), "r");
  std::array<char, 256> line{};
  const bool read = pipe != nullptr && fgets(line.data(), line.size(), pipe) != nullptr;
  EXPECT_EQ(pipe != nullptr ? pclose(pipe) : -1, 0);
  EXPECT_TRUE(read);
  std::string text(line.data());
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

// The second half of the picture is cut away or overwritten, the end marker put back: what the
// structure check cannot see.
Bytes Damaged(Bytes bytes, std::mt19937& random) {
  const size_t keep = bytes.size() / 2 + random() % (bytes.size() / 2 - 40);
  const bool jpeg = bytes[0] == 0xff;
  if (jpeg) return Concat({Cut(bytes, 0, keep), Bytes{0xff, 0xd9}});
  for (size_t at = keep; at < std::min(keep + 24, bytes.size() - 16); ++at) {
    bytes[at] = static_cast<uint8_t>(random());
  }
  return bytes;
}

TEST(DecodeResidue, ADamagedPictureShowsNothingOfTheOneBefore) {
  std::mt19937 random(CampaignSeed());
  const TempFolder folder;
  const char* files[] = {"sampling444.jpg", "progressive.jpg", "restart.jpg",     "cmyk.jpg",
                         "grey.jpg",        "rgb.png",         "interlaced.png",  "rgba16.png",
                         "lossy.webp",      "lossless.webp",   "lossy_alpha.webp"};
  const int rounds = FullCampaign() ? 20 : 3;
  int decoded = 0;
  int refused = 0;
  for (int round = 0; round < rounds; ++round) {
    for (const char* file : files) {
      const Bytes bytes = Damaged(ReadBytes(DataPath(file)), random);
      const std::string path = folder.Write("damaged", std::string(bytes.begin(), bytes.end()));
      DecodeFile(DataPath(files[random() % std::size(files)]));  // the picture before
      const std::string expected = InFreshProcess(path);
      EXPECT_EQ(PixelDigest(DecodeImage(bytes, ImageLimits())), expected) << file;
      (expected == "refused" ? refused : decoded)++;
    }
  }
  std::printf("%d damaged pictures refused, %d decoded as in a fresh process\n", refused, decoded);
  EXPECT_GT(decoded, 0);
  EXPECT_GT(refused, 0);
}

}  // namespace
}  // namespace concertina::testing
