#include "cache/precision/key_feedback.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "cache/precision/packed_group.h"
#include "cache/precision/query_moments.h"

namespace concertina {
namespace {

constexpr int32_t kDim = 64;

// Queries as models have them: most of what they are lies in few directions.
std::vector<float> Queries(int count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::mt19937 of_model(99);
  std::vector<float> directions(4 * kDim);
  for (float& x : directions) x = normal(of_model);
  std::vector<float> queries;
  for (int i = 0; i < count; ++i) {
    float weights[4];
    for (float& weight : weights) weight = 3.0F * normal(random);
    for (int32_t c = 0; c < kDim; ++c) {
      float x = 0.3F * normal(random);
      for (int32_t j = 0; j < 4; ++j) x += weights[j] * directions[j * kDim + c];
      queries.push_back(x);
    }
  }
  return queries;
}

std::vector<float> MomentsOf(const std::vector<float>& queries) {
  std::vector<float> moments(kDim * kDim);
  for (size_t at = 0; at < queries.size(); at += kDim) {
    AddQueryMoments(queries.data() + at, 1, 1, kDim, moments.data());
  }
  return moments;
}

std::vector<float> Keys(uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> keys(kGroupEntries * kDim);
  for (size_t i = 0; i < keys.size(); ++i) {
    keys[i] = (i % kDim % 7 == 3 ? 10.0F : 0.5F) * normal(random);
  }
  return keys;
}

std::vector<uint8_t> Group(const GroupLayout& layout, const std::vector<float>& keys,
                           const KeyFeedback& feedback) {
  std::vector<uint8_t> group(static_cast<size_t>(layout.bytes()));
  QuantiseGroup(layout, keys.data(), keys.data(), kGroupEntries, group.data(), feedback);
  return group;
}

// Mean squared error of the scores that queries give the keys of a group.
double ScoreError(const GroupLayout& layout, const std::vector<uint8_t>& group,
                  const std::vector<float>& keys, const std::vector<float>& queries) {
  std::vector<float> rounded(keys.size());
  LoadGroupKeys(layout, group.data(), kGroupEntries, rounded.data());
  double sum = 0;
  for (size_t q = 0; q < queries.size(); q += kDim) {
    for (size_t k = 0; k < keys.size(); k += kDim) {
      double error = 0;
      for (size_t c = 0; c < kDim; ++c) {
        error +=
            static_cast<double>(queries[q + c]) * static_cast<double>(rounded[k + c] - keys[k + c]);
      }
      sum += error * error;
    }
  }
  return sum / (static_cast<double>(queries.size()) / kDim * kGroupEntries);
}

TEST(KeyFeedbackTest, ErrorsCancelInTheScoresOfQueriesToCome) {
  const KeyFeedback feedback(MomentsOf(Queries(200, 1)).data(), kDim);
  const std::vector<float> others = Queries(100, 2);
  const std::vector<float> keys = Keys(3);
  for (const int bits : {2, 3, 4}) {
    const GroupLayout layout(kDim, {.key = bits, .value = 2});
    const double nearest = ScoreError(layout, Group(layout, keys, KeyFeedback()), keys, others);
    const double with = ScoreError(layout, Group(layout, keys, feedback), keys, others);
    EXPECT_LT(with, 0.5 * nearest) << bits;
  }
}

TEST(KeyFeedbackTest, LeavesGridsAndValuesAsTheyAre) {
  const KeyFeedback feedback(MomentsOf(Queries(200, 1)).data(), kDim);
  const GroupLayout layout(kDim, {.key = 3, .value = 2});
  const std::vector<float> keys = Keys(4);
  const std::vector<uint8_t> with = Group(layout, keys, feedback);
  const std::vector<uint8_t> without = Group(layout, keys, KeyFeedback());
  EXPECT_NE(with, without);
  for (int64_t i = layout.key_scales(); i < layout.bytes(); ++i) ASSERT_EQ(with[i], without[i]);
}

// Where channels have nothing to do with one another, none can make up for another.
TEST(KeyFeedbackTest, QueriesWithoutDirectionsRoundToTheNearest) {
  std::vector<float> moments(kDim * kDim);
  for (size_t c = 0; c < kDim; ++c) moments[c * kDim + c] = 1.0F + static_cast<float>(c);
  const GroupLayout layout(kDim, {.key = 3, .value = 2});
  const std::vector<float> keys = Keys(5);
  const KeyFeedback feedback(moments.data(), kDim);
  ASSERT_FALSE(feedback.none());
  EXPECT_EQ(Group(layout, keys, feedback), Group(layout, keys, KeyFeedback()));
  EXPECT_EQ(feedback.order().front(), kDim - 1);
  EXPECT_EQ(feedback.order().back(), 0);
}

TEST(KeyFeedbackTest, ThereIsNoneWithoutQueriesOrWithSuchThatAreNotFinite) {
  std::vector<float> moments(kDim * kDim);
  EXPECT_TRUE(KeyFeedback(moments.data(), kDim).none());
  moments[0] = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(KeyFeedback(moments.data(), kDim).none());
  moments[0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(KeyFeedback(moments.data(), kDim).none());
}

TEST(KeyFeedbackTest, KeysThatAreNotFiniteComeBackFinite) {
  const KeyFeedback feedback(MomentsOf(Queries(200, 1)).data(), kDim);
  const GroupLayout layout(kDim, {.key = 3, .value = 2});
  std::vector<float> keys = Keys(6);
  keys[3] = std::numeric_limits<float>::quiet_NaN();
  keys[kDim + 5] = std::numeric_limits<float>::infinity();
  keys[2 * kDim + 6] = -std::numeric_limits<float>::max();
  std::vector<float> rounded(keys.size());
  LoadGroupKeys(layout, Group(layout, keys, feedback).data(), kGroupEntries, rounded.data());
  for (const float x : rounded) EXPECT_TRUE(std::isfinite(x));
}

TEST(QueryMomentsTest, EveryHeadOfAGroupCountsForItsKeys) {
  const std::vector<float> queries = Queries(6, 7);  // a token's six heads
  std::vector<float> moments(2 * kDim * kDim);
  AddQueryMoments(queries.data(), 6, 2, kDim, moments.data());
  for (size_t kv = 0; kv < 2; ++kv) {
    for (size_t i = 0; i < kDim; ++i) {
      for (size_t j = 0; j <= i; ++j) {
        double expected = 0;
        for (size_t head = 3 * kv; head < 3 * kv + 3; ++head) {
          const float* q = queries.data() + head * kDim;
          expected += static_cast<double>(q[i]) * static_cast<double>(q[j]);
        }
        ASSERT_NEAR(moments[(kv * kDim + i) * kDim + j], expected, 1e-3);
      }
    }
  }
}

TEST(QueryMomentsTest, LongPromptsCountNoMoreThan256Tokens) {
  EXPECT_EQ(QueryMomentStep(1), 1);
  EXPECT_EQ(QueryMomentStep(256), 1);
  EXPECT_EQ(QueryMomentStep(257), 2);
  EXPECT_EQ(QueryMomentStep(8192), 32);
}

}  // namespace
}  // namespace concertina
