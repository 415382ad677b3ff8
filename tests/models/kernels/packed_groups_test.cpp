#include "models/kernels/packed_groups.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "cache/precision/small_scale.h"
#include "tests/models/kernels/test_support.h"

namespace concertina {
namespace {

struct Case {
  int64_t head_dim;
  GroupBits bits;
  int count;
};

// A group at an address of any alignment, and what it holds.
struct Group {
  Group(const Case& c, uint32_t seed)
      : layout(c.head_dim, c.bits),
        offset(seed % 5),
        memory(static_cast<size_t>(layout.bytes()) + 5),
        k(RandomFloats(c.count * c.head_dim, seed)),
        v(RandomFloats(c.count * c.head_dim, seed + 1)) {
    for (size_t i = 0; i < k.size(); i += 3) k[i] = 8 * k[i] + 20;
    QuantiseGroup(layout, k.data(), v.data(), c.count, memory.data() + offset);
    LoadGroupKeys(layout, bytes(), c.count, k.data());
    LoadGroupValues(layout, bytes(), c.count, v.data());
  }
  const uint8_t* bytes() const { return memory.data() + offset; }

  GroupLayout layout;
  size_t offset;
  std::vector<uint8_t> memory;
  std::vector<float> k, v;
};

// One element, what it is multiplied with and its grid.
struct Term {
  float factor;
  float element;
  uint8_t scale;
  uint8_t zero;
};

// Factors times scales are rounded to 1/127 of the largest and meet the codes' distances from the
// middle of their range; everything else is as exact as floats are.
void CheckSum(float got, const std::vector<Term>& terms, int bits) {
  const double middle = ((1 << bits) - 1) / 2.0;
  double largest = 0;
  double distances = 0;
  double sum = 0;
  double magnitude = 0;
  for (const Term& term : terms) {
    const auto scale = static_cast<double>(FromSmallScale(term.scale));
    const double code = term.element / scale - 0.5 * static_cast<int8_t>(term.zero);
    const auto factor = static_cast<double>(term.factor);
    largest = std::max(largest, std::fabs(factor) * scale);
    distances += std::fabs(code - middle);
    sum += factor * static_cast<double>(term.element);
    magnitude += std::fabs(factor) * (std::fabs(static_cast<double>(term.element)) + 16 * scale);
  }
  ASSERT_NEAR(got, sum, 0.5001 * largest / 127 * distances + 1e-6 * magnitude);
}

class PackedGroupsTest : public KernelTest {};

constexpr GroupBits kBits[] = {{2, 4}, {3, 2}, {4, 3}};

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const GroupBits bits : kBits) {
    for (const int64_t head_dim : {4, 33, 64, 80, 128, 256}) {
      for (const int count : {1, 17, 32}) cases.push_back({head_dim, bits, count});
    }
  }
  return cases;
}

TEST_P(PackedGroupsTest, ScoresAreProductsWithTheStoredKeys) {
  uint32_t seed = 1;
  for (const Case& c : Cases()) {
    const int64_t d = c.head_dim;
    const Group group(c, ++seed);
    const uint8_t* scales = group.bytes() + group.layout.key_scales();
    const uint8_t* zeros = group.bytes() + group.layout.key_zeros();
    for (const int64_t heads : {1, 2, 3, 4, 7}) {
      const std::vector<float> q = RandomFloats(heads * d, seed + 99);
      std::vector<float> scores(static_cast<size_t>(heads * 40), -1.0f);
      ScoreGroup(group.layout, group.bytes(), q.data(), heads, scores.data(), 40);
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t e = 0; e < c.count; ++e) {
          std::vector<Term> terms;
          for (int64_t i = 0; i < d; ++i) {
            terms.push_back({q[h * d + i], group.k[e * d + i], scales[i], zeros[i]});
          }
          CheckSum(scores[h * 40 + e], terms, c.bits.key);
        }
        ASSERT_EQ(scores[h * 40 + 32], -1.0f) << "only 32 scores of a row are written";
      }
    }
  }
}

TEST_P(PackedGroupsTest, ValuesAreWeightedSumsOfTheStoredOnes) {
  uint32_t seed = 1;
  for (const Case& c : Cases()) {
    const int64_t d = c.head_dim;
    for (const int64_t group_count : {1, 2, 8}) {
      std::vector<Group> groups;
      std::vector<const uint8_t*> addresses;
      for (int64_t i = 0; i < group_count; ++i) groups.emplace_back(c, ++seed);
      for (const Group& group : groups) addresses.push_back(group.bytes());
      for (const int64_t heads : {1, 3, 6}) {
        const int64_t row = 32 * group_count + 1;
        std::vector<float> weights = RandomFloats(heads * row, seed + 99);
        for (size_t i = 0; i < weights.size(); ++i) {
          const auto entry = static_cast<int64_t>(i) % row % 32;
          weights[i] = entry < c.count ? std::exp(3 * weights[i]) : 0.0f;
        }
        std::vector<float> values(static_cast<size_t>(heads * d));
        WeighGroups(groups[0].layout, addresses, weights.data(), row, heads, values.data());
        for (int64_t h = 0; h < heads; ++h) {
          for (int64_t i = 0; i < d; ++i) {
            std::vector<Term> terms;
            // One step serves all channels of a block, and all groups.
            for (int64_t e = 0; e < group_count * c.count; ++e) {
              const Group& group = groups[e / c.count];
              const int64_t entry = e % c.count;
              const int64_t grid = i / 32 * 32 + entry;
              terms.push_back({weights[h * row + e / c.count * 32 + entry], group.v[entry * d + i],
                               group.bytes()[group.layout.value_scales() + grid],
                               group.bytes()[group.layout.value_zeros() + grid]});
            }
            CheckSum(values[h * d + i], terms, c.bits.value);
          }
        }
      }
    }
  }
}

// Rounding the factors must not matter beside the rounding of the keys.
TEST_P(PackedGroupsTest, WhatItAddsIsSmallBesideTheCodesOwnError) {
  const GroupLayout layout(64, {4, 4});
  double added = 0;
  double stored = 0;
  for (uint32_t seed = 0; seed < 50; ++seed) {
    const std::vector<float> k = RandomFloats(32 * 64, seed);
    const std::vector<float> q = RandomFloats(64, seed + 1000);
    std::vector<uint8_t> bytes(static_cast<size_t>(layout.bytes()));
    QuantiseGroup(layout, k.data(), k.data(), 32, bytes.data());
    std::vector<float> loaded(k.size());
    LoadGroupKeys(layout, bytes.data(), 32, loaded.data());
    float scores[32];
    ScoreGroup(layout, bytes.data(), q.data(), 1, scores, 32);
    for (size_t e = 0; e < 32; ++e) {
      const double exact = std::inner_product(q.begin(), q.end(), k.begin() + 64 * e, 0.0);
      const double read = std::inner_product(q.begin(), q.end(), loaded.begin() + 64 * e, 0.0);
      added += (scores[e] - read) * (scores[e] - read);
      stored += (read - exact) * (read - exact);
    }
  }
  EXPECT_LT(std::sqrt(added / stored), 0.15);
}

TEST_P(PackedGroupsTest, HeadsAreIndependentAndNothingIsNothing) {
  const Group group({80, {3, 2}, 32}, 5);
  std::vector<float> q = RandomFloats(7 * 80, 6);
  std::fill_n(q.begin() + 80, 80, 0.0f);
  std::vector<float> together(7 * 32);
  ScoreGroup(group.layout, group.bytes(), q.data(), 7, together.data(), 32);
  const uint8_t* address = group.bytes();
  std::vector<float> values(7 * 80);
  WeighGroups(group.layout, {&address, 1}, together.data(), 32, 7, values.data());
  for (size_t h = 0; h < 7; ++h) {
    std::vector<float> alone(32);
    ScoreGroup(group.layout, group.bytes(), &q[h * 80], 1, alone.data(), 32);
    ASSERT_TRUE(std::equal(alone.begin(), alone.end(), together.begin() + 32 * h));
    std::vector<float> value(80);
    WeighGroups(group.layout, {&address, 1}, alone.data(), 32, 1, value.data());
    ASSERT_TRUE(std::equal(value.begin(), value.end(), values.begin() + 80 * h));
  }
  EXPECT_TRUE(std::all_of(together.begin() + 32, together.begin() + 64,
                          [](float score) { return score == 0.0f; }));
  EXPECT_TRUE(std::all_of(values.begin() + 80, values.begin() + 160,
                          [](float value) { return value == 0.0f; }));
}

CONCERTINA_ALL_VARIANTS(PackedGroupsTest);

}  // namespace
}  // namespace concertina
