#include "cache/precision/packed_group.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "cache/precision/small_scale.h"

namespace concertina {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Group {
  Group(int64_t head_dim, GroupBits bits, int entry_count)
      : layout(head_dim, bits),
        count(entry_count),
        k(static_cast<size_t>(head_dim * entry_count)),
        v(k.size()),
        bytes(static_cast<size_t>(layout.bytes())) {}

  void Quantise(const KeyFeedback& feedback = KeyFeedback()) {
    QuantiseGroup(layout, k.data(), v.data(), count, bytes.data(), feedback);
  }
  std::vector<float> Keys() const {
    std::vector<float> rows(k.size());
    LoadGroupKeys(layout, bytes.data(), count, rows.data());
    return rows;
  }
  std::vector<float> Values() const {
    std::vector<float> rows(v.size());
    LoadGroupValues(layout, bytes.data(), count, rows.data());
    return rows;
  }

  GroupLayout layout;
  int count;
  std::vector<float> k, v;  // [count][head_dim]
  std::vector<uint8_t> bytes;
};

// Keys as models have them: some channels much larger than others, and far from 0.
void Randomise(Group& group, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  const int64_t d = group.layout.head_dim();
  for (size_t i = 0; i < group.k.size(); ++i) {
    const auto channel = static_cast<int64_t>(i) % d;
    const float size = channel % 7 == 3 ? 20.0F : 0.5F;
    group.k[i] = size * normal(random) + (channel % 5 == 1 ? 30.0F : 0.0F);
    group.v[i] = 0.3F * normal(random);
  }
}

constexpr GroupBits kAllBits[] = {{2, 2}, {2, 3}, {2, 4}, {3, 2}, {3, 3},
                                  {3, 4}, {4, 2}, {4, 3}, {4, 4}};

// Half the scale that elements from low to high get, and what rounding in f32 adds.
float Bound(float low, float high, int bits) {
  const auto levels = static_cast<float>((1 << bits) - 1);
  const float scale = std::max((high - low) / levels, std::fabs(low) / 63.5F) * 1.126F;
  return 0.5F * std::max(scale, FromSmallScale(0)) + 1e-5F * std::max(-low, high);
}

TEST(SmallScaleTest, RoundsUpByAtMostAnEighth) {
  for (int byte = 0; byte < 256; ++byte) {
    const float scale = FromSmallScale(static_cast<uint8_t>(byte));
    ASSERT_EQ(ToSmallScale(scale), byte);
    if (byte == 255) break;
    const float next = FromSmallScale(static_cast<uint8_t>(byte + 1));
    ASSERT_LE(next, scale * 1.125F);
    ASSERT_EQ(ToSmallScale(std::nextafter(scale, kInfinity)), byte + 1);
    ASSERT_EQ(ToSmallScale(0.5F * (scale + next)), byte + 1);
  }
  EXPECT_EQ(FromSmallScale(255), kLargestSmallScale);
  EXPECT_EQ(ToSmallScale(1e9F), 255);
  EXPECT_EQ(ToSmallScale(kInfinity), 255);
  EXPECT_EQ(ToSmallScale(0.0F), 0);
  EXPECT_EQ(ToSmallScale(kNan), 0);
}

TEST(CodeTileTest, UnpacksWhatWasPackedAndFillsEveryBit) {
  for (int bits = 2; bits <= 4; ++bits) {
    TileCodes codes;
    std::vector<uint8_t> tile(static_cast<size_t>(TileBytes(bits)));
    std::mt19937 random(static_cast<uint32_t>(bits));
    for (uint8_t& code : codes.bytes) code = static_cast<uint8_t>(random() % (1U << bits));
    PackTile(codes, bits, tile.data());
    TileCodes back;
    UnpackTile(tile.data(), bits, &back);
    ASSERT_TRUE(std::equal(std::begin(codes.bytes), std::end(codes.bytes), back.bytes));
    std::fill(std::begin(codes.bytes), std::end(codes.bytes),
              static_cast<uint8_t>((1 << bits) - 1));
    PackTile(codes, bits, tile.data());
    EXPECT_EQ(std::count(tile.begin(), tile.end(), 0xff), TileBytes(bits));
  }
}

TEST(PackedGroupTest, CostsHalfABitPerElementBesideItsCodes) {
  for (const GroupBits bits : kAllBits) {
    for (const int64_t head_dim : {32, 64, 128}) {
      const int64_t codes = (bits.key + bits.value) * head_dim * kGroupEntries;
      const int64_t grids = head_dim * kGroupEntries;  // half a bit, twice
      EXPECT_EQ(GroupLayout(head_dim, bits).bytes() * 8, codes + grids);
    }
  }
  EXPECT_EQ(GroupLayout(4, {4, 4}).bytes(), GroupLayout(32, {4, 4}).bytes());
  EXPECT_EQ(GroupLayout(80, {4, 4}).bytes(), GroupLayout(96, {4, 4}).bytes());
}

TEST(PackedGroupTest, ComesBackWithinHalfAScale) {
  uint32_t seed = 0;
  for (const GroupBits bits : kAllBits) {
    for (const int64_t head_dim : {1, 4, 33, 64, 80, 128}) {
      for (const int count : {1, 2, 15, 16, 17, 31, 32}) {
        Group group(head_dim, bits, count);
        Randomise(group, ++seed);
        group.Quantise();
        const std::vector<float> keys = group.Keys();
        const std::vector<float> values = group.Values();
        for (int64_t c = 0; c < head_dim; ++c) {
          float low = kInfinity;
          float high = -kInfinity;
          for (int64_t e = 0; e < count; ++e) {
            low = std::min(low, group.k[e * head_dim + c]);
            high = std::max(high, group.k[e * head_dim + c]);
          }
          for (int64_t i = c; i < count * head_dim; i += head_dim) {
            ASSERT_NEAR(keys[i], group.k[i], Bound(low, high, bits.key));
          }
        }
        for (int64_t e = 0; e < count; ++e) {
          for (int64_t c = 0; c < head_dim; ++c) {
            const int64_t first = e * head_dim + c / 32 * 32;
            const int64_t end = std::min(first + 32, (e + 1) * head_dim);
            const auto [low, high] = std::minmax_element(&group.v[first], group.v.data() + end);
            ASSERT_NEAR(values[e * head_dim + c], group.v[e * head_dim + c],
                        Bound(*low, *high, bits.value));
          }
        }
      }
    }
  }
}

// Every element is scale x (code + zero / 2) of what the bytes hold, computed apart from the code
// under test.
TEST(PackedGroupTest, LoadsWhatTheLayoutSays) {
  for (const GroupBits bits : kAllBits) {
    Group group(64, bits, kGroupEntries);
    Randomise(group, 3);
    group.Quantise();
    const std::vector<float> keys = group.Keys();
    const std::vector<float> values = group.Values();
    const uint8_t* bytes = group.bytes.data();
    const GroupLayout& layout = group.layout;
    const auto element = [&](int64_t tile, int tile_bits, int depth, int lane, int64_t scale,
                             int64_t zero) {
      TileCodes codes;
      UnpackTile(bytes + tile, tile_bits, &codes);
      const double code = codes.At(depth, lane);
      return static_cast<float>(static_cast<double>(FromSmallScale(bytes[scale])) *
                                (code + 0.5 * static_cast<int8_t>(bytes[zero])));
    };
    for (int e = 0; e < kGroupEntries; ++e) {
      for (int c = 0; c < 64; ++c) {
        ASSERT_EQ(keys[e * 64 + c],
                  element(layout.key_tile(e / 16, c / 32), bits.key, c % 32, e % 16,
                          layout.key_scales() + c, layout.key_zeros() + c));
        const int64_t grid = c / 32 * 32 + e;
        ASSERT_EQ(values[e * 64 + c],
                  element(layout.value_tile(c / 32, c / 16 % 2), bits.value, e, c % 16,
                          layout.value_scales() + grid, layout.value_zeros() + grid));
      }
    }
  }
}

TEST(PackedGroupTest, ConstantChannelsAndZerosAreKept) {
  Group group(64, {2, 2}, kGroupEntries);
  std::fill(group.k.begin(), group.k.end(), 5.0F);
  group.Quantise();
  for (const float k : group.Keys()) ASSERT_NEAR(k, 5.0F, 5.0F / 200);
  for (const float v : group.Values()) ASSERT_EQ(v, 0.0F);
}

TEST(PackedGroupTest, WhatIsNotFiniteComesBackFinite) {
  for (const float bad : {kNan, kInfinity, -kInfinity, std::numeric_limits<float>::max(),
                          std::numeric_limits<float>::lowest(), 1e-42F}) {
    for (const size_t at : {size_t{0}, size_t{5}, size_t{70}}) {
      Group group(64, {3, 2}, kGroupEntries);
      Randomise(group, 1);
      group.k[at] = bad;
      group.v[at] = bad;
      group.Quantise();
      for (const float k : group.Keys()) ASSERT_TRUE(std::isfinite(k));
      for (const float v : group.Values()) ASSERT_TRUE(std::isfinite(v));
    }
  }
}

TEST(PackedGroupTest, OneEntryIsWhatTheGroupHas) {
  for (const GroupBits bits : kAllBits) {
    for (const int64_t d : {5, 64, 80}) {
      Group group(d, bits, kGroupEntries);
      Randomise(group, 9);
      group.Quantise();
      const std::vector<float> keys = group.Keys();
      const std::vector<float> values = group.Values();
      std::vector<float> row(static_cast<size_t>(d));
      for (int i = 0; i < kGroupEntries; ++i) {
        LoadGroupKey(group.layout, group.bytes.data(), i, row.data());
        ASSERT_TRUE(std::equal(row.begin(), row.end(), keys.begin() + i * d));
        LoadGroupValue(group.layout, group.bytes.data(), i, row.data());
        ASSERT_TRUE(std::equal(row.begin(), row.end(), values.begin() + i * d));
      }
    }
  }
}

struct Channel {
  float low, high, scale;  // the ends of its grid
};

Channel ChannelOf(const Group& group, int64_t c) {
  const float scale = FromSmallScale(group.bytes[group.layout.key_scales() + c]);
  const auto zero = static_cast<int8_t>(group.bytes[group.layout.key_zeros() + c]);
  const float low = 0.5F * scale * static_cast<float>(zero);
  const auto levels = static_cast<float>((1 << group.layout.bits().key) - 1);
  return {.low = low, .high = low + scale * levels, .scale = scale};
}

// A newcomer takes the place of another entry: the others' values stay to the last bit, and so do
// their keys in channels whose grid does not end more than a scale before the newcomer's; in others
// the grid is widened for all that are there.
TEST(PackedGroupTest, ANewcomerWidensTheGridItNeeds) {
  constexpr int64_t kDim = 80;
  for (const GroupBits bits : kAllBits) {
    Group group(kDim, bits, kGroupEntries);
    Randomise(group, 9);
    group.Quantise();
    std::vector<float> values = group.Values();
    Group other(kDim, bits, 1);
    Randomise(other, 10);
    for (int64_t c = 0; c < kDim; c += 9) other.k[c] += 100.0F;
    for (const int place : {0, 15, 16, 31}) {
      const Group before = group;
      const std::vector<float> keys = group.Keys();
      PutInGroup(group.layout, place, other.k.data(), other.v.data(), 0x7fffffffU & ~(1U << place),
                 group.bytes.data());
      const std::vector<float> now = group.Keys();
      for (int64_t c = 0; c < kDim; ++c) {
        const Channel old = ChannelOf(before, c);
        const Channel grid = ChannelOf(group, c);
        const bool widened = other.k[c] < old.low - old.scale || other.k[c] > old.high + old.scale;
        const float at = widened ? other.k[c] : std::clamp(other.k[c], old.low, old.high);
        ASSERT_NEAR(now[place * kDim + c], at, 0.501F * grid.scale);
        for (int64_t e = 0; e < 31; ++e) {  // 31 is not there
          if (e == place) continue;
          const float off = widened ? 0.501F * grid.scale : 0.0F;
          ASSERT_NEAR(now[e * kDim + c], keys[e * kDim + c], off);
        }
        if (!widened) {
          ASSERT_EQ(grid.scale, old.scale);
        }
      }
      Group alone(kDim, bits, 1);
      alone.v = other.v;
      alone.Quantise();
      const std::vector<float> value = alone.Values();
      std::copy(value.begin(), value.end(), values.begin() + place * kDim);
      ASSERT_EQ(group.Values(), values);
    }
  }
}

TEST(PackedGroupTest, HolesAndWhatIsNotFiniteWidenNoGrid) {
  Group group(64, {3, 2}, kGroupEntries);
  Randomise(group, 11);
  for (int64_t c = 0; c < 64; ++c) group.k[5 * 64 + c] = 1000.0F;
  group.Quantise();
  const Group before = group;
  Group other(64, {3, 2}, 1);
  other.k.assign(64, kInfinity);
  other.k[1] = kNan;
  PutInGroup(group.layout, 7, other.k.data(), other.v.data(), 0xffffffdfU, group.bytes.data());
  for (int64_t c = 0; c < 64; ++c) EXPECT_EQ(ChannelOf(group, c).scale, ChannelOf(before, c).scale);
  // The entry of 1000s is gone: what widens the grid anew ends with what is there.
  other.k.assign(64, -5000.0F);
  PutInGroup(group.layout, 5, other.k.data(), other.v.data(), 0xffffff5fU, group.bytes.data());
  for (int64_t c = 0; c < 64; ++c) EXPECT_LT(ChannelOf(group, c).high, 900.0F);
}

TEST(PackedGroupTest, KeysAreReplacedUnderTheirValues) {
  Group group(64, {3, 2}, kGroupEntries);
  Randomise(group, 4);
  group.Quantise();
  const std::vector<float> values = group.Values();
  Group other(64, {3, 2}, kGroupEntries);
  Randomise(other, 5);
  other.Quantise();
  ReplaceGroupKeys(group.layout, other.k.data(), kGroupEntries, group.bytes.data());
  EXPECT_EQ(group.Keys(), other.Keys());
  EXPECT_EQ(group.Values(), values);
}

TEST(PackedGroupTest, AbsentEntriesDoNotChangeThePresentOnes) {
  Group whole(64, {3, 2}, kGroupEntries);
  Randomise(whole, 4);
  Group part(64, {3, 2}, 9);
  std::copy_n(whole.k.begin(), part.k.size(), part.k.begin());
  std::copy_n(whole.v.begin(), part.v.size(), part.v.begin());
  part.Quantise();
  const std::vector<uint8_t> once = part.bytes;
  std::fill(part.bytes.begin(), part.bytes.end(), 0xff);
  part.Quantise();
  EXPECT_EQ(part.bytes, once) << "every byte is written, whatever was there";
}

}  // namespace
}  // namespace concertina
