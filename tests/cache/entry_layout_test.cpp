#include "cache/entry_layout.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace concertina {
namespace {

constexpr CacheShape Shape(int32_t head_dim) {
  return {.layers = 3, .kv_heads = 2, .head_dim = head_dim};
}

// Stores a key and a value of an entry in the middle of a page and loads them again.
std::vector<float> ThereAndBack(EntryType type, const std::vector<float>& values) {
  const CacheShape shape = Shape(static_cast<int32_t>(values.size()));
  const EntryLayout layout(shape, type, PageBytesFor(shape));
  std::vector<uint8_t> page(static_cast<size_t>(layout.page_bytes()), 0xff);
  const std::vector<float> other(values.size(), 3.0F);
  std::vector<float> key(values.size()), value(values.size());
  layout.StoreKey(values.data(), 1, page.data());
  layout.StoreValue(other.data(), 0, page.data());
  layout.StoreValue(values.data(), 1, page.data());
  layout.StoreKey(other.data(), 0, page.data());
  layout.LoadKey(page.data(), 1, key.data());
  layout.LoadValue(page.data(), 1, value.data());
  EXPECT_EQ(std::memcmp(key.data(), value.data(), key.size() * sizeof(float)), 0);
  layout.LoadKey(page.data(), 0, value.data());
  EXPECT_NEAR(value.front(), 3.0F, 0.02F);
  return key;
}

TEST(EntryLayoutTest, PagesHoldFourShortOrTwoLongEntries) {
  for (const int32_t head_dim : {1, 4, 16, 64, 80, 128}) {
    const CacheShape shape = Shape(head_dim);
    const int64_t page_bytes = PageBytesFor(shape);
    EXPECT_EQ(page_bytes, 4 * (4 * head_dim + 8));
    for (const EntryType type : {EntryType::kBf16, EntryType::kF32}) {
      const EntryLayout layout(shape, type, page_bytes);
      const int64_t expected = type == EntryType::kBf16 ? 4 : head_dim == 1 ? 3 : 2;
      EXPECT_EQ(layout.entries_per_page(), expected) << head_dim;
      EXPECT_EQ(layout.v_offset(), expected * head_dim * ElementBytes(type));
      EXPECT_EQ(layout.meta_offset(), 2 * layout.v_offset());
      EXPECT_LE(layout.meta_offset() + expected * 8, page_bytes);
      EXPECT_EQ(layout.meta_offset() % 4, 0);
      EXPECT_EQ(layout.entry_bytes(), layout.entry_payload_bytes() + 8);
      EXPECT_EQ(layout.PagesFor(0), 0);
      EXPECT_EQ(layout.PagesFor(1), 1);
      EXPECT_EQ(layout.PagesFor(expected), 1);
      EXPECT_EQ(layout.PagesFor(expected + 1), 2);
    }
  }
  EXPECT_EQ(PageBytesFor({.layers = 30, .kv_heads = 3, .head_dim = 64}), 1056);
}

TEST(EntryLayoutTest, Bf16RoundsToNearestEven) {
  const float exact = 1.0F + 1.0F / 128;
  const std::vector<float> values = {1.0F,
                                     exact,
                                     1.0F + 1.0F / 256,
                                     exact + 1.0F / 256,
                                     -0.0F,
                                     std::numeric_limits<float>::infinity(),
                                     std::numeric_limits<float>::quiet_NaN(),
                                     1e-40F};
  const std::vector<float> loaded = ThereAndBack(EntryType::kBf16, values);
  EXPECT_EQ(loaded[0], 1.0F);
  EXPECT_EQ(loaded[1], exact);
  EXPECT_EQ(loaded[2], 1.0F);               // tie: down to the even code
  EXPECT_EQ(loaded[3], 1.0F + 2.0F / 128);  // tie: up to the even code
  EXPECT_TRUE(std::signbit(loaded[4]));
  EXPECT_TRUE(std::isinf(loaded[5]));
  EXPECT_TRUE(std::isnan(loaded[6]));
  EXPECT_NEAR(loaded[7], 1e-40F, 1e-41F);
}

TEST(EntryLayoutTest, F32IsKeptBitForBit) {
  const std::vector<float> values = {1.1F, -3e-39F, 7e30F};
  EXPECT_EQ(ThereAndBack(EntryType::kF32, values), values);
}

TEST(EntryLayoutTest, SevenBytesEntriesOf64DimensionsFillAPage) {
  const CacheShape shape = Shape(64);
  const EntryLayout layout(shape, EntryType::kInt8, PageBytesFor(shape));
  EXPECT_EQ(layout.entries_per_page(), 7);
  EXPECT_EQ(layout.entry_payload_bytes(), 2 * (64 + 2));
  EXPECT_EQ(layout.v_offset(), 7 * (64 + 2));
  EXPECT_LE(layout.meta_offset() + 7 * 8, layout.page_bytes());
  EXPECT_DOUBLE_EQ(layout.entries_per_bf16_entry(), 256.0 / 132.0);
}

TEST(EntryLayoutTest, BytesAreWithinHalfAStepAndStayAsTheyAre) {
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  for (int i = 0; i < 200; ++i) {
    std::vector<float> values(96);
    float largest = 0;
    for (float& value : values) {
      value = normal(random) * std::exp2(static_cast<float>(i % 40 - 20));
      largest = std::max(largest, std::fabs(value));
    }
    const std::vector<float> once = ThereAndBack(EntryType::kInt8, values);
    for (size_t j = 0; j < values.size(); ++j) {
      // Half a step, and what rounding the scale to bf16 may clip off the largest.
      ASSERT_NEAR(once[j], values[j], largest * (0.5F / 127 + 1.0F / 256));
    }
    ASSERT_EQ(ThereAndBack(EntryType::kInt8, once), once);
  }
}

TEST(EntryLayoutTest, OddVectorsOfBytesAreDefined) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(ThereAndBack(EntryType::kInt8, {0.0F, -0.0F}), (std::vector<float>{0.0F, 0.0F}));
  EXPECT_EQ(ThereAndBack(EntryType::kInt8, {1e-40F, -1e-40F}), (std::vector<float>{0.0F, 0.0F}));
  EXPECT_TRUE(std::isnan(ThereAndBack(EntryType::kInt8, {infinity, 1.0F})[1]));
}

TEST(PackedScoreTest, RelativeErrorIsAtMostTwoToTheMinusEleven) {
  std::mt19937 random(7);
  std::uniform_real_distribution<double> log2(-20.0, 17.0);
  for (int i = 0; i < 200000; ++i) {
    const auto score = static_cast<float>(std::exp2(log2(random)));
    const double back = UnpackScore(PackScore(score));
    ASSERT_LE(std::abs(back - score) / score, std::exp2(-11)) << score;
  }
}

TEST(PackedScoreTest, EveryCodeSurvivesAndKeepsItsOrder) {
  float previous = -1.0F;
  for (int code = 0; code <= 0xffff; ++code) {
    const float score = UnpackScore(static_cast<uint16_t>(code));
    ASSERT_GT(score, previous);
    ASSERT_EQ(PackScore(score), code);
    previous = score;
  }
  EXPECT_GT(previous, std::exp2(22.0F));
}

TEST(PackedScoreTest, OddValuesSaturate) {
  EXPECT_EQ(PackScore(0.0F), 0);
  EXPECT_EQ(PackScore(-1.0F), 0);
  EXPECT_EQ(PackScore(std::numeric_limits<float>::quiet_NaN()), 0);
  EXPECT_EQ(PackScore(std::numeric_limits<float>::infinity()), 0xffff);
  EXPECT_EQ(PackScore(1e30F), 0xffff);
  EXPECT_EQ(PackScore(std::numeric_limits<float>::denorm_min()), 0);
}

}  // namespace
}  // namespace concertina
