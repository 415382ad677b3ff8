#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <random>

#include "cache/anchors.h"
#include "cache/policies/policy.h"
#include "session_driver.h"

namespace concertina {
namespace {

using testing::PolicyOf;

TEST(AnchorsTest, FirstLastAndTheBest) {
  const std::vector<float> scores = {0, 5, 1, 7, 7, 2, 0};
  EXPECT_EQ(SelectAnchors(scores, 1), (std::vector<int32_t>{0, 6}));
  EXPECT_EQ(SelectAnchors(scores, 3), (std::vector<int32_t>{0, 3, 6}));  // tie: lower index
  EXPECT_EQ(SelectAnchors(scores, 5), (std::vector<int32_t>{0, 1, 3, 4, 6}));
  EXPECT_EQ(SelectAnchors(scores, 99), (std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(SelectAnchors(std::vector<float>{3}, 5), (std::vector<int32_t>{0}));
  EXPECT_TRUE(SelectAnchors({}, 5).empty());
}

TEST(AnchorsTest, NotANumberCountsAsLowest) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> scores = {nan, nan, 1, nan, 2, nan};
  EXPECT_EQ(SelectAnchors(scores, 4), (std::vector<int32_t>{0, 2, 4, 5}));
}

// Few values, so that ties abound; both zeros are one value.
TEST(AnchorsTest, ScoresDecideThenIndices) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kValues[] = {0.0F, -0.0F, 1e-40F, 0.25F, 3.0F, -0.25F, -3.0F, kInfinity};
  std::vector<float> scores(200);
  uint32_t state = 1;
  for (float& score : scores) {
    state = state * 1664525U + 1013904223U;
    score = kValues[state >> 29];
  }
  std::vector<int32_t> order(scores.size() - 2);
  std::iota(order.begin(), order.end(), 1);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return scores[a] > scores[b]; });
  for (const int32_t kept : {2, 3, 4, 50, 101, 199}) {
    std::vector<int32_t> expected(order.begin(), order.begin() + kept - 2);
    expected.push_back(0);
    expected.push_back(199);
    std::sort(expected.begin(), expected.end());
    EXPECT_EQ(SelectAnchors(scores, kept), expected) << kept;
  }
}

TEST(BucketsTest, AreCutHalfWayTheLeftTakingTheMiddle) {
  const std::vector<Bucket> buckets = Buckets(std::vector<int32_t>{0, 4, 7, 9}, 12);
  const std::vector<std::pair<int32_t, int32_t>> expected = {{0, 2}, {3, 5}, {6, 8}, {9, 11}};
  ASSERT_EQ(buckets.size(), expected.size());
  for (size_t i = 0; i < buckets.size(); ++i) {
    EXPECT_EQ(buckets[i].first, expected[i].first);
    EXPECT_EQ(buckets[i].last, expected[i].second);
  }
}

class MergeTest : public ::testing::Test {
 protected:
  const std::vector<float> k_ = {1, 2, 3, 4, 6};
  const std::vector<float> v_ = {10, 20, 30, 40, 60};
  const std::vector<uint16_t> mass_ = {1, 3, 1, 65535, 2};
  const HeadEntries head_{k_.data(), v_.data(), mass_.data(), 5, 1};
  const std::vector<int32_t> anchors_ = {0, 2, 4};  // buckets 0-1, 2-3, 4
};

TEST_F(MergeTest, Modes) {
  const MergedHead mean = MergeBuckets(head_, anchors_, MergeMode::kMean, false);
  EXPECT_EQ(mean.k, (std::vector<float>{1.5F, 3.5F, 6}));
  EXPECT_EQ(mean.v, (std::vector<float>{15, 35, 60}));
  EXPECT_EQ(mean.mass, (std::vector<uint16_t>{4, 65535, 2}));  // saturates
  const MergedHead mass = MergeBuckets(head_, anchors_, MergeMode::kMass, false);
  EXPECT_FLOAT_EQ(mass.k[0], (1 * 1 + 2 * 3) / 4.0F);
  EXPECT_EQ(mass.mass, mean.mass);
  const MergedHead none = MergeBuckets(head_, anchors_, MergeMode::kNone, false);
  EXPECT_EQ(none.k, (std::vector<float>{1, 3, 6}));
  EXPECT_EQ(none.mass, (std::vector<uint16_t>{1, 1, 2}));
  const MergedHead v_only = MergeBuckets(head_, anchors_, MergeMode::kVOnly, false);
  EXPECT_EQ(v_only.k, none.k);
  EXPECT_EQ(v_only.v, mean.v);
}

TEST_F(MergeTest, APureSinkAcceptsNoMerges) {
  const std::vector<int32_t> anchors = {0, 3};  // buckets 0-1, 2-4
  const MergedHead merged = MergeBuckets(head_, anchors, MergeMode::kMean, true);
  EXPECT_EQ(merged.k, (std::vector<float>{1, 4}));
  EXPECT_EQ(merged.mass, (std::vector<uint16_t>{1, 65535}));
  const MergedHead inner = MergeBuckets(head_, anchors_, MergeMode::kMean, true);
  EXPECT_EQ(inner.k, (std::vector<float>{1, 3.5F, 6}));
}

// Two heads, one dimension.
struct TwoHeads {
  std::vector<float> v;
  std::vector<float> score;
  std::vector<uint32_t> birth;

  LayerView View(int64_t seen_after) const {
    return {.kv_heads = 2,
            .head_dim = 1,
            .entries = static_cast<int32_t>(v.size() / 2),
            .capacity = static_cast<int64_t>(v.size() / 2),
            .seen_after = seen_after,
            .v = v.data(),
            .score = score.data(),
            .birth = birth.data()};
  }
};

TEST(ElasticTest, SelectsByTheMeanOverHeads) {
  const TwoHeads layer{.v = std::vector<float>(10, 1),
                       .score = {1, 9, 0, 4, 0, 1, 0, 8, 5, 0},
                       .birth = {0, 1, 2, 3, 4, 0, 1, 2, 3, 4}};
  const Selection kept = PolicyOf("elastic")->Select(layer.View(5), 3);
  EXPECT_EQ(kept[0], (std::vector<int32_t>{0, 1, 4}));  // 9 + 0 and 4 + 5 tie
  EXPECT_EQ(kept[1], kept[0]);
}

TEST(ElasticTest, DeletesAtAFixedPoint) {
  const auto policy = PolicyOf("elastic");
  const std::vector<float> scores(101, 0.0F);
  EXPECT_EQ(policy->Victim({.scores = scores, .cap = 100, .anchors_at_fold = 80}), 55);
  EXPECT_EQ(policy->Victim({.scores = scores, .cap = 100, .anchors_at_fold = 20}), 1);
  EXPECT_EQ(policy->Victim({.scores = scores, .cap = 100, .anchors_at_fold = 500}), 99);
}

TEST(ConcertinaTest, SelectsByAttentionPerQueryTimesValuePerHead) {
  // Entry i was seen by 5 - i queries. Head 0: 10/4, 6/3, 5/2 with |v| 1, 1, 2; head 1: only |v|
  // differs.
  const TwoHeads layer{.v = {1, 1, -1, -2, 1, 1, -3, 1, 2, 1},
                       .score = {0, 10, 6, 5, 0, 0, 4, 3, 2, 0},
                       .birth = {0, 1, 2, 3, 4, 0, 1, 2, 3, 4}};
  const Selection kept = PolicyOf("concertina")->Select(layer.View(5), 3);
  EXPECT_EQ(kept[0], (std::vector<int32_t>{0, 3, 4}));
  EXPECT_EQ(kept[1], (std::vector<int32_t>{0, 1, 4}));
}

TEST(ConcertinaTest, OldEntriesHadMoreQueriesToBeSeenBy) {
  // Seen by 14, 4 and 3 queries: the oldest has the largest sum and the smallest mean.
  const TwoHeads layer{.v = std::vector<float>(10, 1),
                       .score = {0, 10, 8, 9, 0, 0, 10, 8, 5, 0},
                       .birth = {0, 6, 16, 17, 19, 0, 6, 16, 17, 19}};
  const Selection kept = PolicyOf("concertina")->Select(layer.View(20), 3);
  EXPECT_EQ(kept[0], (std::vector<int32_t>{0, 3, 4}));
  EXPECT_EQ(kept[1], (std::vector<int32_t>{0, 2, 4}));
}

TEST(ConcertinaTest, EntriesOfAPictureAreOneAge) {
  // 6, 16 and 17 are a picture, whose middle 20 - 12 queries saw: 9/8, 8/8, 7/8, against 9/14, 8/4
  // and 7/3; in head 1 the text's 5/2 stays the most.
  const TwoHeads layer{.v = std::vector<float>(12, 1),
                       .score = {0, 9, 8, 7, 0, 0, 0, 9, 8, 7, 5, 0},
                       .birth = {0, 6, 16, 17, 18, 19, 0, 6, 16, 17, 18, 19}};
  LayerView view = layer.View(20);
  const Selection apart = PolicyOf("concertina")->Select(view, 3);
  EXPECT_EQ(apart[0], (std::vector<int32_t>{0, 3, 5}));
  const std::vector<TokenSpan> pictures = {{2, 2}, {6, 12}};
  view.pictures = pictures;
  const Selection kept = PolicyOf("concertina")->Select(view, 3);
  EXPECT_EQ(kept[0], (std::vector<int32_t>{0, 1, 5}));
  EXPECT_EQ(kept[1], (std::vector<int32_t>{0, 4, 5}));
}

TEST(ConcertinaHqTest, SelectsByAttentionPerQueryPerHead) {
  // 10/4, 6/3, 5/2; 4/4, 3/3, 2/2: values do not count, ties go to the lower index.
  const TwoHeads layer{.v = {1, 1, -1, -2, 1, 1, -3, 1, 2, 1},
                       .score = {0, 10, 6, 5, 0, 0, 4, 3, 2, 0},
                       .birth = {0, 1, 2, 3, 4, 0, 1, 2, 3, 4}};
  const auto policy = PolicyOf("concertina-hq");
  EXPECT_EQ(policy->Select(layer.View(5), 4)[0], (std::vector<int32_t>{0, 1, 3, 4}));
  EXPECT_EQ(policy->Select(layer.View(5), 3)[1], (std::vector<int32_t>{0, 1, 4}));
  EXPECT_EQ(policy->slope_r(), 2.5);
  EXPECT_EQ(MakePolicy("concertina-hq", {.slope_r = 0.0}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ConcertinaTest, EvictsTheLeastAttendedOutsideTheRecentHalf) {
  const auto policy = PolicyOf("concertina");
  const auto victim = [&policy](const std::vector<float>& scores, int32_t cap) {
    return policy->Victim({.scores = scores, .cap = cap, .anchors_at_fold = cap});
  };
  EXPECT_EQ(victim({0, 5, 3, 3, 0, 0, 0}, 6), 2);  // newest 3 protected, tie to the lower index
  EXPECT_EQ(victim({9, 5, 3, 3, 1, 0, 0}, 4), 4);  // newest 2 protected
  EXPECT_EQ(victim({0, 7, 0}, 2), 1);
  EXPECT_EQ(victim({0, 7, 1, 0}, 3), 2);
  EXPECT_EQ(victim({0, 7, 1, 0, 0}, 3), 3);  // two over the cap, as after a smaller budget
}

TEST(ConcertinaTest, PackedEntriesLeaveByMeanAttentionOutsideTheNewestQuarter) {
  const std::vector<uint32_t> births = {0, 1, 2, 3, 4, 5, 6, 7, 8};
  const std::vector<float> scores = {9, 8, 3.5F, 6, 1, 0.6F, 0.3F, 0, 0};
  for (const std::string_view name : {"concertina", "concertina-hq"}) {
    const DecodeView rows{.scores = scores, .cap = 8, .anchors_at_fold = 8};
    EXPECT_EQ(PolicyOf(name)->Victim(rows), 4) << name;
    DecodeView packed = rows;
    packed.births = births;
    EXPECT_EQ(PolicyOf(name)->Victim(packed), 6) << name;  // 0.3 by three queries
  }
}

TEST(PolicyTest, VictimsAreWhatOneAfterAnotherWouldBe) {
  const std::vector<float> scores = {9, 4, 2, 7, 1, 3, 8, 6, 5, 2, 4, 1, 0};
  const std::vector<int32_t> may_go = {1, 2, 3, 5, 6, 7, 8, 9, 10};
  struct Births final : EntryReader {
    uint32_t Birth(int32_t index) const override { return static_cast<uint32_t>(2 * index); }
    void LoadKey(int32_t index, float* k) const override { *k = static_cast<float>(index % 3); }
  } reader;
  std::vector<uint32_t> births;
  for (int32_t i = 0; i < 13; ++i) births.push_back(reader.Birth(i));
  for (const std::string_view name : {"concertina", "h2o", "local", "snapkv"}) {
    DecodeView head{.scores = scores,
                    .cap = 12,
                    .anchors_at_fold = 10,
                    .head_dim = 1,
                    .entries = &reader,
                    .births = births};
    const std::vector<int32_t> four = PolicyOf(name)->Victims(head, 4);
    EXPECT_EQ(four.size(), 4u) << name;
    EXPECT_TRUE(std::ranges::is_sorted(four)) << name;
    head.may_go = may_go;
    std::vector<int32_t> left = may_go;
    for (int32_t count = 1; count <= 4; ++count) {
      const std::vector<int32_t> victims = PolicyOf(name)->Victims(head, count);
      DecodeView rest = head;
      rest.may_go = left;
      const int32_t next = PolicyOf(name)->Victim(rest);
      EXPECT_TRUE(std::ranges::count(victims, next) == 1) << name << ", " << count;
      std::erase(left, next);
    }
  }
}

// The same as asking for one at a time, which is done another way.
TEST(ConcertinaTest, ManyVictimsAtOnceAreTheSame) {
  std::mt19937 random(7);
  std::uniform_int_distribution<int> score(0, 50);  // with ties
  for (const int32_t entries : {35, 64, 200, 1000}) {
    for (const bool packed : {true, false}) {
      std::vector<float> scores;
      std::vector<uint32_t> births;
      std::vector<int32_t> left;
      for (int32_t i = 0; i < entries; ++i) {
        scores.push_back(static_cast<float>(score(random)));
        if (packed) births.push_back(static_cast<uint32_t>(3 * i));
        left.push_back(i);
      }
      struct NoReader final : EntryReader {
        uint32_t Birth(int32_t) const override { return 0; }
        void LoadKey(int32_t, float*) const override {}
      } reader;
      const auto view = [&] {
        return DecodeView{.scores = scores,
                          .cap = static_cast<int32_t>(scores.size()) - 1,
                          .entries = &reader,
                          .births = births};
      };
      const std::vector<int32_t> victims = PolicyOf("concertina")->Victims(view(), 32);
      std::vector<int32_t> one_by_one;
      for (int32_t i = 0; i < 32; ++i) {
        const int32_t victim = PolicyOf("concertina")->Victim(view());
        one_by_one.push_back(left[victim]);
        left.erase(left.begin() + victim);
        scores.erase(scores.begin() + victim);
        if (packed) births.erase(births.begin() + victim);
      }
      std::ranges::sort(one_by_one);
      EXPECT_EQ(victims, one_by_one) << entries << (packed ? " packed" : "");
    }
  }
}

TEST(ConcertinaTest, SlopeIsAnOption) {
  EXPECT_EQ(PolicyOf("concertina")->slope_r(), 2.5);
  EXPECT_EQ(PolicyOf("concertina", {.slope_r = 1.0})->slope_r(), 1.0);
  for (const double slope : {0.0, -1.0, 1e9, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_EQ(MakePolicy("concertina", {.slope_r = slope}).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(RegistryTest, NamesMakePoliciesOfThatName) {
  EXPECT_EQ(PolicyNames().front(), "concertina");
  for (const std::string_view name : PolicyNames()) {
    EXPECT_EQ(PolicyOf(name)->name(), name);
  }
  EXPECT_EQ(MakePolicy("no-such-policy").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(PolicyOf("concertina")->default_on_context_end(), OnContextEnd::kRebase);
  EXPECT_EQ(PolicyOf("elastic")->default_on_context_end(), OnContextEnd::kRefuse);
}

}  // namespace
}  // namespace concertina
