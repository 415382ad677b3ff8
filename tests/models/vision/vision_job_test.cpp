#include "models/vision/vision_job.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/support/tiny_vision.h"

namespace concertina {
namespace {

using concertina::testing::MemorySource;
using concertina::testing::TinyVision;
using concertina::testing::TinyVisionConfig;

constexpr int64_t kOutput = 14;

class VisionJobTest : public ::testing::Test {
 protected:
  VisionJobTest() : config_(TinyVisionConfig()) {
    config_.feature_layers = {2, 0};
    auto encoder =
        VisionEncoder::Load(config_, TinyVision(config_, kOutput), kOutput, MatrixType::kF32);
    EXPECT_TRUE(encoder.ok()) << encoder.status();
    encoder_ = *std::move(encoder);
  }

  std::vector<float> Picture(const std::string& name) const {
    MemorySource source;
    source.SetRandom(name, {3, config_.image_side, config_.image_side}, 2.0F);
    return source.Values(name);
  }

  std::vector<float> NoFeatures() const {
    return std::vector<float>(static_cast<size_t>(config_.tokens() * kOutput));
  }

  std::vector<float> Whole(const std::vector<float>& pixels) const {
    std::vector<float> features = NoFeatures();
    encoder_->Encode(pixels.data(), 1, features.data());
    return features;
  }

  VisionConfig config_;
  std::unique_ptr<VisionEncoder> encoder_;
};

TEST_F(VisionJobTest, AnyCutGivesTheSameBits) {
  const std::vector<float> pixels = Picture("picture");
  const std::vector<float> expected = Whole(pixels);
  for (int64_t rows = 1; rows <= config_.patches() + 1; ++rows) {
    std::vector<float> features = NoFeatures();
    VisionJob job(*encoder_, pixels.data(), features.data());
    while (!job.Step(rows)) {
    }
    EXPECT_EQ(features, expected) << rows << " rows";
  }
}

TEST_F(VisionJobTest, TwoPicturesMayTakeTurns) {
  const std::vector<float> first = Picture("first"), second = Picture("second");
  ASSERT_NE(first, second);
  constexpr uint32_t kSeed = 7;
  std::mt19937 random(kSeed);
  std::vector<float> of_first = NoFeatures(), of_second = NoFeatures();
  VisionJob one(*encoder_, first.data(), of_first.data());
  VisionJob two(*encoder_, second.data(), of_second.data());
  bool one_done = false, two_done = false;
  while (!one_done || !two_done) {
    const int64_t rows = 1 + random() % 5;
    bool& done = random() % 2 == 0 ? one_done : two_done;
    if (!done) done = (&done == &one_done ? one : two).Step(rows);
  }
  EXPECT_EQ(of_first, Whole(first)) << "seed " << kSeed;
  EXPECT_EQ(of_second, Whole(second)) << "seed " << kSeed;
}

// What the steps say of their work adds up to the whole picture's.
TEST_F(VisionJobTest, WorkAddsUp) {
  const std::vector<float> pixels = Picture("picture");
  std::vector<float> features = NoFeatures();
  VisionJob job(*encoder_, pixels.data(), features.data());
  int64_t macs = 0;
  bool done = false;
  while (!done) {
    const int64_t rows = std::min<int64_t>(4, job.rows_left());
    EXPECT_GT(rows, 0);
    macs += rows * job.row_macs();
    done = job.Step(4);
  }
  EXPECT_EQ(macs, VisionJob::PictureMacs(config_, kOutput));
  EXPECT_EQ(job.rows_left(), 0);
  EXPECT_EQ(job.bytes(), VisionJob::BytesFor(config_));
}

}  // namespace
}  // namespace concertina
