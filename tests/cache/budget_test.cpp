#include "cache/budget.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "cache/layer_shares.h"

namespace concertina {
namespace {

int64_t Sum(const std::vector<int32_t>& values) {
  return std::accumulate(values.begin(), values.end(), int64_t{0});
}

TEST(LayerSharesTest, EvenWithoutSlope) {
  const std::vector<int32_t> holds(5, 100);
  EXPECT_EQ(LayerShares(50, 1.0, holds), (std::vector<int32_t>(5, 10)));
  EXPECT_EQ(LayerShares(53, 1.0, holds), (std::vector<int32_t>{10, 10, 11, 11, 11}));
}

TEST(LayerSharesTest, DeepLayersGetMore) {
  // Weights 2/3.5, 1, 5/3.5 for three layers and r = 2.5: 30 x those = 17.14, 30, 42.86.
  EXPECT_EQ(LayerShares(90, 2.5, std::vector<int32_t>(3, 1000)),
            (std::vector<int32_t>{17, 30, 43}));
}

TEST(LayerSharesTest, SurplusOfCappedLayersGoesToTheOthersInProportion) {
  // The last layer can use 20 of 42.86; the other 70 are split 0.571 : 1, i.e. 25.45, 44.55.
  EXPECT_EQ(LayerShares(90, 2.5, std::vector<int32_t>{1000, 1000, 20}),
            (std::vector<int32_t>{25, 45, 20}));
}

TEST(LayerSharesTest, WholeNumbersAreNotFlooredAway) {
  // 9.33, 11.67 and 14, the last of which is 13.999999999999998 in doubles.
  EXPECT_EQ(LayerShares(35, 1.5, std::vector<int32_t>(3, 100)), (std::vector<int32_t>{9, 11, 15}));
}

TEST(LayerSharesTest, EveryLayerKeepsTwo) {
  EXPECT_EQ(LayerShares(6, 2.5, std::vector<int32_t>(3, 50)), (std::vector<int32_t>{2, 2, 2}));
  EXPECT_EQ(LayerShares(0, 2.5, std::vector<int32_t>(3, 50)), (std::vector<int32_t>{2, 2, 2}));
  EXPECT_EQ(LayerShares(9, 2.5, std::vector<int32_t>{1, 50, 0}), (std::vector<int32_t>{1, 8, 0}));
  EXPECT_EQ(LayerShares(9, 2.5, std::vector<int32_t>{1, 1, 0}), (std::vector<int32_t>{1, 1, 0}));
  EXPECT_EQ(LayerShares(7, 2.5, std::vector<int32_t>{10}), (std::vector<int32_t>{7}));
}

// A second way to the same numbers: bisect the common scale, then floor and add the remainder.
std::vector<double> BisectedShares(int64_t total, double r, const std::vector<int32_t>& holds) {
  const size_t layers = holds.size();
  double low = 0;
  double high = 1e9;
  std::vector<double> shares(layers);
  for (int i = 0; i < 200; ++i) {
    const double scale = (low + high) / 2;
    double sum = 0;
    for (size_t l = 0; l < layers; ++l) {
      const double t = layers == 1 ? 0.5 : static_cast<double>(l) / static_cast<double>(layers - 1);
      const double weight = std::lerp(2 / (1 + r), 2 * r / (1 + r), t);
      shares[l] = std::clamp<double>(scale * weight, std::min(2, holds[l]), holds[l]);
      sum += shares[l];
    }
    (sum > static_cast<double>(total) ? high : low) = scale;
  }
  return shares;
}

TEST(LayerSharesTest, RandomSplitsAddUpAndStayWithinBounds) {
  const uint32_t seed = 20240601;
  std::mt19937 random(seed);
  for (int i = 0; i < 20000; ++i) {
    const size_t layers = 1 + random() % 40;
    const double slopes[] = {1.0, 2.5, 0.4, 7.0};
    const double r = slopes[random() % 4];
    std::vector<int32_t> holds(layers);
    for (int32_t& held : holds) {
      held = static_cast<int32_t>(random() % (1 + random() % 300));
    }
    const int64_t total = random() % (1 + Sum(holds) * 5 / 4);
    const std::vector<int32_t> shares = LayerShares(total, r, holds);
    int64_t least = 0;
    for (size_t l = 0; l < layers; ++l) {
      least += std::min(2, holds[l]);
      ASSERT_LE(shares[l], holds[l]) << "seed " << seed << " case " << i;
      ASSERT_GE(shares[l], std::min(2, holds[l])) << "seed " << seed << " case " << i;
    }
    ASSERT_EQ(Sum(shares), std::min(std::max(total, least), Sum(holds)))
        << "seed " << seed << " case " << i;
    if (total >= least && total < Sum(holds)) {
      const std::vector<double> exact = BisectedShares(total, r, holds);
      for (size_t l = 0; l < layers; ++l) {
        ASSERT_LE(std::abs(shares[l] - exact[l]), 1.0 + 1e-6)
            << "seed " << seed << " case " << i << " layer " << l;
      }
    }
  }
}

TEST(LayerSharesTest, EqualLayersGetMoreTheDeeperTheyAre) {
  for (int64_t total = 60; total < 3000; total += 7) {
    const std::vector<int32_t> shares = LayerShares(total, 2.5, std::vector<int32_t>(30, 120));
    for (size_t l = 1; l < shares.size(); ++l) {
      ASSERT_GE(shares[l], shares[l - 1]) << total;
    }
  }
}

TEST(LayerSharesTest, MoreEntriesTakeAtMostARoundingStepFromALayer) {
  const std::vector<int32_t> holds(12, 200);
  std::vector<int32_t> before = LayerShares(24, 2.5, holds);
  for (int64_t total = 25; total <= 2400; ++total) {
    const std::vector<int32_t> shares = LayerShares(total, 2.5, holds);
    for (size_t l = 0; l < shares.size(); ++l) {
      ASSERT_GE(shares[l], before[l] - 1) << total;
    }
    before = shares;
  }
}

TEST(BudgetTest, InvalidOnesAreNamed) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double ratio : {0.0, -0.1, 1.0001, nan, std::numeric_limits<double>::infinity()}) {
    const absl::Status status = ValidateBudget(Budget::Ratio(ratio));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << ratio;
    EXPECT_NE(status.message().find("ratio"), absl::string_view::npos);
  }
  for (const int64_t n : {int64_t{0}, int64_t{-1}, std::numeric_limits<int64_t>::min()}) {
    EXPECT_FALSE(ValidateBudget(Budget::Tokens(n)).ok());
    EXPECT_FALSE(ValidateBudget(Budget::Bytes(n)).ok());
  }
  EXPECT_TRUE(ValidateBudget(Budget::Ratio(1.0)).ok());
  EXPECT_TRUE(ValidateBudget(Budget::Ratio(1e-9)).ok());
  EXPECT_TRUE(ValidateBudget(Budget::Tokens(1)).ok());
  EXPECT_TRUE(ValidateBudget(Budget::Bytes(1)).ok());
}

class ResolveTest : public ::testing::Test {
 protected:
  const CacheShape shape_{.layers = 6, .kv_heads = 3, .head_dim = 16};
  const EntryLayout layout_{shape_, EntryType::kBf16, PageBytesFor(shape_)};

  EffectiveBudget Resolve(const Budget& budget, int64_t seen, int32_t held) const {
    return ResolveBudget(budget, seen, 2.5, std::vector<int32_t>(6, held), layout_, shape_);
  }
};

TEST_F(ResolveTest, RatioIsAFlooredShareOfTheTokensSeen) {
  EXPECT_EQ(Resolve(Budget::Ratio(0.2), 104, 104).entries_total, 20 * 6 * 3);
  EXPECT_EQ(Resolve(Budget::Ratio(0.2), 105, 105).entries_total, 21 * 6 * 3);
  EXPECT_EQ(Resolve(Budget::Ratio(1.0), 105, 105).shares, std::vector<int32_t>(6, 105));
  // Tokens that are gone count as seen: the budget may exceed what is held.
  EXPECT_EQ(Resolve(Budget::Ratio(0.9), 1000, 50).shares, std::vector<int32_t>(6, 50));
}

TEST_F(ResolveTest, BytesEntriesAreGrantedThePayloadOfBf16Ones) {
  const EntryLayout bytes(shape_, EntryType::kInt8, PageBytesFor(shape_));
  const std::vector<int32_t> holds(6, 105);
  // 64 bytes of payload against 36.
  const auto resolve = [&](const Budget& budget) {
    return ResolveBudget(budget, 105, 2.5, holds, bytes, shape_).entries_total / (6 * 3);
  };
  EXPECT_EQ(resolve(Budget::Ratio(0.2)), 37);
  EXPECT_EQ(resolve(Budget::Ratio(0.6)), 105);
  EXPECT_EQ(resolve(Budget::Tokens(20)), 35);
  EXPECT_EQ(resolve(Budget::Tokens(std::numeric_limits<int64_t>::max())), 105);
}

TEST_F(ResolveTest, TheFloorIsTwoEntries) {
  for (const Budget& budget : {Budget::Ratio(0.001), Budget::Tokens(1), Budget::Bytes(1)}) {
    const EffectiveBudget effective = Resolve(budget, 100, 100);
    EXPECT_EQ(effective.shares, std::vector<int32_t>(6, 2));
    EXPECT_TRUE(effective.raised_to_floor);
  }
  EXPECT_FALSE(Resolve(Budget::Tokens(2), 100, 100).raised_to_floor);
  EXPECT_EQ(Resolve(Budget::Tokens(1), 1, 1).shares, std::vector<int32_t>(6, 1));
  EXPECT_TRUE(Resolve(Budget::Tokens(5), 0, 0).shares == std::vector<int32_t>(6, 0));
}

TEST_F(ResolveTest, HugeBudgetsDoNotOverflow) {
  const int64_t most = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(Resolve(Budget::Tokens(most), 100, 100).shares, std::vector<int32_t>(6, 100));
  EXPECT_EQ(Resolve(Budget::Bytes(most), 100, 100).shares, std::vector<int32_t>(6, 100));
  EXPECT_EQ(Resolve(Budget::Tokens(most), 0, 0).entries_total, 0);
}

TEST_F(ResolveTest, BytesBuyTheLargestTotalThatFits) {
  const int64_t page = layout_.page_bytes();
  for (int64_t bytes = 1; bytes < 60 * 3 * page; bytes += page / 3) {
    for (const int32_t held : {3, 10, 70}) {
      const EffectiveBudget effective = Resolve(Budget::Bytes(bytes), 100, held);
      const int64_t room = bytes - AppendHeadroomBytes(layout_, shape_);
      if (effective.raised_to_floor) {
        ASSERT_LT(room, 6 * 3 * page);
        continue;
      }
      ASSERT_LE(effective.bytes_used_at_shares, room);
      const int64_t total = effective.entries_total / 3;
      for (int64_t more = total + 1; more <= std::min<int64_t>(total + 30, 6 * held); ++more) {
        int64_t pages = 0;
        for (const int32_t share : LayerShares(more, 2.5, std::vector<int32_t>(6, held))) {
          pages += layout_.PagesFor(share);
        }
        ASSERT_GT(pages * 3 * page, room) << bytes << " held " << held << " more " << more;
      }
    }
  }
}

}  // namespace
}  // namespace concertina
