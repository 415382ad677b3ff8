// What is its own in each baseline policy: which entries, ties, NaN, victims. The reference vectors
// are in baselines_golden_test.cpp, the common contract in policy_matrix_test.cpp.

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "cache/anchors.h"
#include "session_driver.h"

namespace concertina {
namespace {

using testing::Contents;
using testing::ElementWriter;
using testing::HeadContents;
using testing::MakePool;
using testing::PolicyOf;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// One layer of entries with one number each for K and V.
struct Layer {
  int32_t kv_heads = 1;
  std::vector<float> score;
  std::vector<float> k = {};
  int32_t layer = 0;
  int32_t head_dim = 1;

  Selection Fold(std::string_view policy, int32_t keep) const {
    const auto entries = static_cast<int32_t>(score.size()) / kv_heads;
    std::vector<float> v(score.size() * head_dim, 1.0F);
    std::vector<uint32_t> birth(score.size());
    for (size_t i = 0; i < birth.size(); ++i) {
      birth[i] = static_cast<uint32_t>(i % entries);
    }
    return PolicyOf(policy)->Select({.layer = layer,
                                     .kv_heads = kv_heads,
                                     .head_dim = head_dim,
                                     .entries = entries,
                                     .capacity = entries,
                                     .seen_after = entries,
                                     .k = k.empty() ? v.data() : k.data(),
                                     .v = v.data(),
                                     .score = score.data(),
                                     .birth = birth.data()},
                                    keep);
  }
};

// Entries whose births are given and whose keys are pairs.
class Entries final : public EntryReader {
 public:
  explicit Entries(std::vector<std::pair<float, float>> keys, uint32_t first_birth = 0)
      : keys_(std::move(keys)), first_birth_(first_birth) {}
  uint32_t Birth(int32_t index) const override { return first_birth_ + index; }
  void LoadKey(int32_t index, float* k) const override {
    k[0] = keys_[index].first;
    k[1] = keys_[index].second;
  }

 private:
  std::vector<std::pair<float, float>> keys_;
  uint32_t first_birth_;
};

using Kept = std::vector<int32_t>;

TEST(SelectAroundTest, KeepsTheFrameAndTheBest) {
  const std::vector<float> scores = {0, 0, 5, 9, 7, 7, 1, 0, 0, 0};
  EXPECT_EQ(SelectAround(scores, 6, 2, 2), (Kept{0, 1, 3, 4, 8, 9}));  // tie: lower index
  EXPECT_EQ(SelectAround(scores, 4, 2, 2), (Kept{0, 1, 8, 9}));
  EXPECT_EQ(SelectAround(scores, 3, 2, 2), (Kept{0, 1, 9}));  // sinks first
  EXPECT_EQ(SelectAround(scores, 2, 4, 4), (Kept{0, 9}));
  EXPECT_EQ(SelectAround(scores, 1, 4, 4), (Kept{0, 9}));
  EXPECT_EQ(SelectAround(scores, 9, 1, 1), (Kept{0, 1, 2, 3, 4, 5, 6, 7, 9}));
  EXPECT_EQ(SelectAround(scores, 99, 4, 4).size(), 10U);
  EXPECT_EQ(SelectAround({}, 3, 1, 1), Kept{});
}

TEST(LowestBeforeTest, TiesGoToTheLowerIndexAndTheFirstStays) {
  EXPECT_EQ(LowestBefore(std::vector<float>{0, 3, 1, 1, 0}, 1), 2);
  EXPECT_EQ(LowestBefore(std::vector<float>{0, 3, 1, 1, 0}, 3), 1);
  EXPECT_EQ(LowestBefore(std::vector<float>{0, 3, 0}, 9), 1);
}

TEST(H2oTest, HalfIsRecentHalfIsHeavyPerHead) {
  const Layer layer{.kv_heads = 2,
                    .score = {0, 1, 9, 2, 3, 0, 0, 0, /*head 1*/ 0, 8, 1, 8, 8, 0, 0, 0}};
  EXPECT_EQ(layer.Fold("h2o", 5), (Selection{{0, 2, 4, 6, 7}, {0, 1, 3, 6, 7}}));
  EXPECT_EQ(layer.Fold("h2o", 3), (Selection{{0, 2, 7}, {0, 1, 7}}));
  EXPECT_EQ(layer.Fold("h2o", 2), (Selection{{0, 7}, {0, 7}}));
  const Layer broken{.score = {0, kNan, 1, kNan, 0, 0}};
  EXPECT_EQ(broken.Fold("h2o", 4), (Selection{{0, 2, 4, 5}}));
}

TEST(H2oTest, EvictsTheLeastAttendedOutsideTheRecentHalf) {
  const std::vector<float> scores = {0, 5, 3, 3, 0, 0, 0};
  EXPECT_EQ(PolicyOf("h2o")->Victim({.scores = scores, .cap = 6}), 2);
}

TEST(LocalTest, KeepsFourSinksAndTheNewest) {
  const Layer layer{.score = std::vector<float>(20)};
  EXPECT_EQ(layer.Fold("local", 7), (Selection{{0, 1, 2, 3, 17, 18, 19}}));
  EXPECT_EQ(layer.Fold("local", 4), (Selection{{0, 1, 2, 19}}));
  EXPECT_EQ(layer.Fold("local", 2), (Selection{{0, 19}}));
  EXPECT_EQ(layer.Fold("local", 20).front().size(), 20U);
  const std::vector<float> scores(8);
  EXPECT_EQ(PolicyOf("local")->Victim({.scores = scores, .cap = 7}), 4);
  EXPECT_EQ(PolicyOf("local")->Victim({.scores = std::vector<float>(4), .cap = 3}), 2);
  EXPECT_EQ(PolicyOf("local")->Victim({.scores = std::vector<float>(3), .cap = 2}), 1);
}

TEST(SnapKvTest, PoolsSoThatNeighboursStayTogether) {
  Layer layer{.score = std::vector<float>(100)};
  layer.score[40] = 1;
  layer.score[7] = kNan;  // no score, and none for its neighbours
  // 1 first, 32 newest, 7 around the peak, then the oldest of those without a score.
  Kept expected = {0, 1, 37, 38, 39, 40, 41, 42, 43};
  for (int32_t i = 68; i < 100; ++i) {
    expected.push_back(i);
  }
  EXPECT_EQ(layer.Fold("snapkv", 41), Selection{expected});
  EXPECT_EQ(layer.Fold("snapkv", 3), (Selection{{0, 98, 99}}));
}

TEST(SnapKvTest, OnlyThePromptsOwnAttentionCounts) {
  const CacheShape shape{.layers = 1, .kv_heads = 1, .head_dim = 4};
  const auto pool = MakePool(1000, shape);
  SessionCache cache(pool.get(), shape, EntryType::kF32, PolicyOf("snapkv"), Budget::Tokens(100),
                     OnContextEnd::kRefuse);
  ASSERT_TRUE(testing::Prefill(cache, 30, ElementWriter(1)).ok());
  EXPECT_GT(Contents(cache, 0, 0).scores[1], 0);
  cache.BeginDecode();
  ASSERT_TRUE(testing::DecodeToken(cache, 1).ok());
  const auto nothing = [](const SessionCache&, int, LayerPrompt*) {};
  ASSERT_TRUE(testing::Prefill(cache, 3, nothing).ok());
  EXPECT_EQ(Contents(cache, 0, 0).scores, std::vector<float>(34));
}

TEST(SnapKvTest, ProtectsTheWindowOrHalfWhileDecoding) {
  std::vector<float> scores(101, 1.0F);
  scores[60] = 0.5F;
  scores[80] = 0.0F;
  EXPECT_EQ(PolicyOf("snapkv")->Victim({.scores = scores, .cap = 100}), 60);
  const std::vector<float> few = {1, 1, 1, 0.5F, 0, 0};
  EXPECT_EQ(PolicyOf("snapkv")->Victim({.scores = few, .cap = 5}), 3);
}

TEST(RandomTest, IsTheSameForAllHeadsAndDiffersByLayer) {
  const Layer layer{.kv_heads = 2, .score = std::vector<float>(400)};
  const Selection kept = layer.Fold("random", 40);
  EXPECT_EQ(kept[0], kept[1]);
  EXPECT_EQ(kept, layer.Fold("random", 40));
  Layer other = layer;
  other.layer = 1;
  EXPECT_NE(kept, other.Fold("random", 40));
  // Neither end is preferred: of 38 drawn from 198, a quarter would be 9 or 10.
  for (int32_t quarter = 0; quarter < 4; ++quarter) {
    const auto in_quarter = std::count_if(kept[0].begin() + 1, kept[0].end() - 1,
                                          [&](int32_t i) { return i / 50 == quarter; });
    EXPECT_GE(in_quarter, 3) << quarter;
    EXPECT_LE(in_quarter, 18) << quarter;
  }
}

// An entry draws once: folding to 60 and then to 20 is folding to 20, and decode goes on likewise.
TEST(RandomTest, AnEntryDrawsOnce) {
  const Layer layer{.score = std::vector<float>(200)};
  const Kept wide = layer.Fold("random", 60)[0];
  const Kept narrow = layer.Fold("random", 20)[0];
  EXPECT_TRUE(std::includes(wide.begin(), wide.end(), narrow.begin(), narrow.end()));
  const std::vector<float> scores(200);
  const Entries entries({});
  const int32_t victim =
      PolicyOf("random")->Victim({.scores = scores, .cap = 199, .entries = &entries});
  const Kept all_but_one = layer.Fold("random", 199)[0];
  EXPECT_FALSE(std::binary_search(all_but_one.begin(), all_but_one.end(), victim));
}

TEST(KeyDiffTest, KeepsTheKeysUnlikeTheOthersWhateverTheirLength) {
  const Layer layer{.score = std::vector<float>(6),
                    .k = {1, 0, /*1*/ 9, 0, /*2*/ 0, 1, /*3*/ 2, 0, /*4*/ -3, 0, /*5*/ 1, 0},
                    .head_dim = 2};
  EXPECT_EQ(layer.Fold("keydiff", 3), (Selection{{0, 4, 5}}));
  EXPECT_EQ(layer.Fold("keydiff", 4), (Selection{{0, 2, 4, 5}}));
  EXPECT_EQ(layer.Fold("keydiff", 5), (Selection{{0, 1, 2, 4, 5}}));  // 1 and 3 tie
  Layer broken = layer;
  broken.k[4] = kNan;  // then nothing is known, and indices decide
  EXPECT_EQ(broken.Fold("keydiff", 4), (Selection{{0, 1, 2, 5}}));
  broken.k.assign(12, 0.0F);
  EXPECT_EQ(broken.Fold("keydiff", 3), (Selection{{0, 1, 5}}));
}

TEST(KeyDiffTest, EvictsTheKeyMostLikeTheOthers) {
  const Entries entries({{1, 0}, {0, 1}, {1, 0.2F}, {-1, 0}, {1, 0}});
  const std::vector<float> scores(5);
  EXPECT_EQ(
      PolicyOf("keydiff")->Victim({.scores = scores, .cap = 4, .head_dim = 2, .entries = &entries}),
      2);
}

TEST(OfficialTest, TakesPlacesInTheOrderForRanks) {
  // The inner five in ascending order are 3 1 5 2 4, less one each: 2 0 4 1 3.
  const Layer layer{.score = {0, 20, 40, 10, 50, 30, 0}};
  // Four stay, so two are to be forgotten: places 2 and 4, which hold 4 and 3, stay.
  EXPECT_EQ(layer.Fold("official", 4), (Selection{{0, 3, 5, 6}}));
  EXPECT_EQ(layer.Fold("official", 2), (Selection{{0, 6}}));
  EXPECT_EQ(layer.Fold("official", 7).front().size(), 7U);
  EXPECT_EQ((Layer{.score = {0, kNan, 1, kNan, 0}}.Fold("official", 3)), (Selection{{0, 2, 4}}));
}

TEST(OfficialTest, MergesTheEntryBeforeEachOneThatGoes) {
  const std::vector<float> k = {1, 2, 3, 4, 5, 6, 7};
  const std::vector<uint16_t> mass = {1, 1, 1, 1, 1, 65535, 1};
  const HeadEntries head{k.data(), k.data(), mass.data(), 7, 1};
  // 1, 2 and 4 go; 0, 1 and 3 are merged: 0 and 1 into 3, and 3 into itself, being the nearest.
  const MergedHead merged = PolicyOf("official")->Merge(head, Kept{0, 3, 5, 6});
  EXPECT_EQ(merged.k, (std::vector<float>{1, (4 + 1 + 2 + 4) / 4.0F, 6, 7}));
  EXPECT_EQ(merged.mass, (std::vector<uint16_t>{1, 4, 65535, 1}));
  EXPECT_EQ(PolicyOf("official")->Merge(head, Kept{0, 6}).k, (std::vector<float>{1, 7}));
}

TEST(OfficialTest, DeletesAtAPlaceThatMayCountFromTheEnd) {
  const auto victim = [](int32_t entries, int32_t anchors) {
    return PolicyOf("official")
        ->Victim({.scores = std::vector<float>(entries),
                  .cap = entries - 1,
                  .anchors_at_fold = anchors});
  };
  EXPECT_EQ(victim(50, 40), 16);
  EXPECT_EQ(victim(30, 24), 1);  // place 0 is the first entry
  EXPECT_EQ(victim(21, 19), 16);
  EXPECT_EQ(victim(30, 23), 28);  // place -1 is the newest entry
  EXPECT_EQ(victim(5, 2), 1);
}

TEST(OfficialTest, PositionsFollowTheEntriesHeld) {
  const CacheShape shape{.layers = 2, .kv_heads = 1, .head_dim = 4};
  const auto pool = MakePool(1000, shape);
  SessionCache cache(pool.get(), shape, EntryType::kF32, PolicyOf("official"), Budget::Ratio(0.5),
                     OnContextEnd::kRebase);
  EXPECT_EQ(cache.next_position(), 0);
  ASSERT_TRUE(testing::Prefill(cache, 40, ElementWriter(1)).ok());
  EXPECT_EQ(cache.next_position(), 20);
  cache.BeginDecode();
  ASSERT_TRUE(testing::DecodeToken(cache, 1).ok() && testing::DecodeToken(cache, 1).ok());
  EXPECT_EQ(cache.seen(), 42);
  EXPECT_EQ(cache.next_position(), 21);
  cache.EndDecode();
  EXPECT_TRUE(cache.FitsContext(9, 30));
  const auto none = [](float*, int64_t) { FAIL() << "a key was moved"; };
  EXPECT_EQ(cache.RebaseFor(10, 30, none).code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace concertina
