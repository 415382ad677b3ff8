#include "server/engine/slice_cost.h"

#include <gtest/gtest.h>

namespace concertina {
namespace {

using std::chrono::nanoseconds;

constexpr int64_t kUnit = 16;
constexpr double kRowMacs = 1000;

SliceCost::Shares SharesOf(int64_t rows, int64_t key) {
  const auto r = static_cast<double>(rows), k = static_cast<double>(key);
  return {8 * kRowMacs, r * kRowMacs, r * k, 0};
}

// A machine on which attention is three times as slow as the products, per multiply-add.
nanoseconds TakenBy(int64_t rows, int64_t key) {
  const SliceCost::Shares shares = SharesOf(rows, key);
  return nanoseconds(static_cast<int64_t>(2 * shares[0] + shares[1] + 3 * shares[2]));
}

// Slices as a long prompt has them: key after key, layer after layer.
void LearnLayers(SliceCost& cost, int layers) {
  for (int layer = 0; layer < layers; ++layer) {
    for (int64_t key = 0, i = 0; key < 2000; ++i) {
      const int64_t rows = kUnit * (1 + (i * 7 + layer) % 16);
      cost.Learn(SharesOf(rows, key), TakenBy(rows, key));
      key += rows;
    }
  }
}

TEST(SliceCost, FollowsWhatIsMeasured) {
  SliceCost cost;
  EXPECT_FALSE(cost.known());
  LearnLayers(cost, 10);
  EXPECT_TRUE(cost.known());
  for (const int64_t key : {0, 100, 1000, 1900}) {
    for (const int64_t rows : {16, 64, 256}) {
      const auto taken = static_cast<double>(TakenBy(rows, key).count());
      const auto predicted = static_cast<double>(cost.Predict(SharesOf(rows, key)).count());
      EXPECT_NEAR(predicted / taken, 1, 0.2) << rows << " rows at " << key;
    }
  }
}

// A slice during which something else had the machine changes little.
TEST(SliceCost, IsNotMisledByAnOutlier) {
  SliceCost cost;
  LearnLayers(cost, 10);
  const auto before = cost.Predict(SharesOf(64, 500));
  cost.Learn(SharesOf(64, 500), 50 * before);
  EXPECT_LT(cost.Predict(SharesOf(64, 500)), before * 6 / 5);
}

TEST(RowsThatFit, AreTheMostOfAUnit) {
  SliceCost cost;
  const auto shares_of = [](int64_t rows) { return SharesOf(rows, 0); };
  EXPECT_EQ(RowsThatFit(cost, nanoseconds(0), kUnit, 256, shares_of), kUnit) << "nothing is known";
  EXPECT_EQ(RowsThatFit(cost, nanoseconds(0), kUnit, 5, shares_of), 5);
  // A nanosecond a multiply-add: a thousand a row, eight thousand more a slice.
  cost.Learn(shares_of(100), nanoseconds(108'000));
  EXPECT_EQ(RowsThatFit(cost, nanoseconds(23'999), kUnit, 256, shares_of), 0);
  EXPECT_EQ(RowsThatFit(cost, nanoseconds(24'000), kUnit, 256, shares_of), 16);
  EXPECT_EQ(RowsThatFit(cost, nanoseconds(55'999), kUnit, 256, shares_of), 32);
  EXPECT_EQ(RowsThatFit(cost, nanoseconds(56'000), kUnit, 256, shares_of), 48);
  EXPECT_EQ(RowsThatFit(cost, nanoseconds(1'000'000), kUnit, 250, shares_of), 250)
      << "the end of a layer is no multiple";
  EXPECT_EQ(RowsThatFit(cost, nanoseconds(18'000), kUnit, 10, shares_of), 10);
}

}  // namespace
}  // namespace concertina
