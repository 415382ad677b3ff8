#include "server/images/image_decoder.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

namespace concertina {
namespace {

constexpr char kFolder[] = CONCERTINA_SOURCE_DIR "/tests/goldens/llava15-tiny";

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class ImageDecoderTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    absl::StatusOr<std::shared_ptr<const Model>> model = LoadModel(
        {.path = kFolder, .vision_path = {}, .weight_type = MatrixType::kF32, .chat_family = {}});
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
    for (const auto& entry :
         std::filesystem::directory_iterator(std::string(kFolder) + "/images")) {
      files_.push_back(ReadFile(entry.path()));
    }
    ASSERT_GE(files_.size(), 4U);
  }
  static void TearDownTestSuite() { model_.reset(); }

  static std::shared_ptr<const Model> model_;
  static std::vector<std::string> files_;
};

std::shared_ptr<const Model> ImageDecoderTest::model_;
std::vector<std::string> ImageDecoderTest::files_;

TEST_F(ImageDecoderTest, OnePictureIsDecodedOnce) {
  ImageStore store(64 << 20);
  int decoded = 0;
  ImageDecoder decoder(*model_, {.limits = {}, .on_decoded = [&](double) { ++decoded; }}, store);
  const auto first = decoder.Inline(files_[0], "picture");
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ((*first)->sha256, Sha256Hex(files_[0]));
  EXPECT_EQ(*decoder.Inline(files_[0], "picture"), *first);
  EXPECT_EQ(*decoder.Stored((*first)->sha256, "picture"), *first);
  EXPECT_EQ(decoded, 1);
}

TEST_F(ImageDecoderTest, PixelsThatWereDroppedAreMadeAgain) {
  ImageStore store(static_cast<int64_t>(files_[0].size()));  // the file and no pixels
  ImageDecoder decoder(*model_, {}, store);
  const auto uploaded = decoder.Upload(files_[0], "picture");
  ASSERT_TRUE(uploaded.ok()) << uploaded.status();
  ASSERT_EQ(store.Get(uploaded->sha256)->prepared, nullptr);
  const auto again = decoder.Stored(uploaded->sha256, "picture");
  ASSERT_TRUE(again.ok());
  EXPECT_EQ((*again)->pixels, (*decoder.Inline(files_[0], "picture"))->pixels);
}

TEST_F(ImageDecoderTest, WhatIsNoPictureNamesItsField) {
  ImageStore store(1 << 20);
  ImageDecoder decoder(*model_, {}, store);
  const std::string cut = files_[0].substr(0, files_[0].size() / 2);
  EXPECT_EQ(decoder.Inline(cut, "parts[3].image").status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(decoder.Upload("no picture", "chunk").status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(decoder.Stored(std::string(64, 'a'), "x").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store.images(), 0);
}

// Many threads, few pictures, and a store too small for their pixels: whoever comes first decodes,
// others drop what is in use. Every answer is the picture's.
TEST_F(ImageDecoderTest, ThreadsShareAStoreThatIsTooSmall) {
  std::vector<std::vector<float>> expected;
  int64_t bytes = 0;
  {
    ImageStore store(64 << 20);
    ImageDecoder decoder(*model_, {}, store);
    for (const std::string& file : files_) {
      expected.push_back((*decoder.Inline(file, "picture"))->pixels);
    }
    bytes = store.bytes();
  }
  ImageStore store(bytes / 2);
  std::atomic<int> decoded = 0;
  ImageDecoder decoder(
      *model_, {.limits = {}, .max_decoders = 2, .on_decoded = [&](double) { ++decoded; }}, store);
  std::vector<std::thread> threads;
  for (size_t thread = 0; thread < 6; ++thread) {
    threads.emplace_back([&, thread] {
      for (size_t i = 0; i < 3 * files_.size(); ++i) {
        const size_t pick = (i * (thread + 1) + thread) % files_.size();
        if (i % 3 == 0) {
          EXPECT_TRUE(decoder.Upload(files_[pick], "picture").ok());
        }
        EXPECT_FALSE(decoder.Inline("no picture", "picture").ok());
        auto prepared = decoder.Stored(Sha256Hex(files_[pick]), "picture");
        if (!prepared.ok()) {  // dropped, or never uploaded
          prepared = decoder.Inline(files_[pick], "picture");
        }
        ASSERT_TRUE(prepared.ok()) << prepared.status();
        EXPECT_EQ((*prepared)->pixels, expected[pick]);
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_GT(decoded, static_cast<int>(files_.size()));
  EXPECT_LE(store.bytes(), bytes / 2);
}

}  // namespace
}  // namespace concertina
