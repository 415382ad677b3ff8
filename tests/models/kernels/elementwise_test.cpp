#include "models/kernels/elementwise.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "models/kernels/logit_bins.h"
#include "models/kernels/logits.h"
#include "models/kernels/rope.h"
#include "tests/models/kernels/test_support.h"

namespace concertina {
namespace {

// Distance of `got` from the exact value in units of the last place of a float.
double Ulps(float got, double exact) {
  const float nearest = static_cast<float>(exact);
  const double unit = std::max(std::nextafter(std::fabs(nearest), INFINITY) - std::fabs(nearest),
                               std::numeric_limits<float>::min());
  return std::fabs(got - exact) / unit;
}

class ElementwiseTest : public KernelTest {};

TEST_P(ElementwiseTest, ExpWithinTwoUlps) {
  std::vector<float> x;
  for (float v = -87.3f; v < 88.3f; v += 0.00137f) x.push_back(v);
  std::vector<float> y = x;
  isa::Active().exp(y.data(), static_cast<int64_t>(y.size()));
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_LE(Ulps(y[i], std::exp(static_cast<double>(x[i]))), 2.0) << x[i];
  }
}

TEST_P(ElementwiseTest, ExpAtTheEdges) {
  const float infinity = std::numeric_limits<float>::infinity();
  std::vector<float> y = {0.0f, -0.0f, -infinity, -1000.0f, -87.34f, NAN};
  isa::Active().exp(y.data(), static_cast<int64_t>(y.size()));
  EXPECT_EQ(y[0], 1.0f);
  EXPECT_EQ(y[1], 1.0f);
  EXPECT_EQ(y[2], 0.0f);
  EXPECT_EQ(y[3], 0.0f);
  EXPECT_EQ(y[4], 0.0f);
  EXPECT_TRUE(std::isnan(y[5]));
}

TEST_P(ElementwiseTest, ExpIsTheSameInEveryLane) {
  const std::vector<float> values = RandomFloats(50, 1, 10.0f);
  for (const float value : values) {
    std::vector<float> y(37, value);
    isa::Active().exp(y.data(), 37);
    for (const float v : y) ASSERT_EQ(v, y[0]);
  }
}

TEST_P(ElementwiseTest, GeluAndQuickGelu) {
  std::vector<float> x;
  for (float v = -12.0f; v < 12.0f; v += 0.0013f) x.push_back(v);
  std::vector<float> gelu = x;
  std::vector<float> quick = x;
  Gelu(gelu.data(), static_cast<int64_t>(x.size()));
  QuickGelu(quick.data(), static_cast<int64_t>(x.size()));
  for (size_t i = 0; i < x.size(); ++i) {
    const double v = x[i];
    const double size = std::fabs(v) + 1e-3;
    ASSERT_NEAR(gelu[i], 0.5 * v * (1.0 + std::erf(v / std::sqrt(2.0))), 2e-7 * size) << v;
    ASSERT_NEAR(quick[i], v / (1.0 + std::exp(-1.702 * v)), 4e-7 * size) << v;
  }
}

TEST_P(ElementwiseTest, SiluMultiply) {
  for (const int64_t inter : {1, 5, 16, 1536}) {
    const int64_t rows = 9;
    const std::vector<float> x = RandomFloats(rows * 2 * inter, 1, 4.0f);
    std::vector<float> y(static_cast<size_t>(rows * inter));
    SiluMultiply(x.data(), rows, inter, y.data());
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = 0; i < inter; ++i) {
        const double gate = x[static_cast<size_t>(r * 2 * inter + i)];
        const double up = x[static_cast<size_t>(r * 2 * inter + inter + i)];
        const double want = gate / (1.0 + std::exp(-gate)) * up;
        ASSERT_NEAR(y[static_cast<size_t>(r * inter + i)], want, 1e-6 * (std::fabs(want) + 1e-3));
      }
    }
  }
}

TEST_P(ElementwiseTest, Normalisations) {
  for (const int64_t d : {1, 4, 31, 576, 1000}) {
    const int64_t rows = 70;
    const std::vector<float> x = RandomFloats(rows * d, 1, 3.0f);
    const std::vector<float> weight = RandomFloats(d, 2);
    const std::vector<float> bias = RandomFloats(d, 3);
    std::vector<float> rms(x.size());
    std::vector<float> layer = x;  // in place
    RmsNorm(x.data(), weight.data(), rows, d, 1e-5f, rms.data());
    LayerNorm(layer.data(), weight.data(), bias.data(), rows, d, 1e-5f, layer.data());
    for (int64_t r = 0; r < rows; ++r) {
      double squares = 0;
      double mean = 0;
      double variance = 0;
      const float* row = &x[static_cast<size_t>(r * d)];
      for (int64_t i = 0; i < d; ++i) squares += static_cast<double>(row[i]) * row[i];
      for (int64_t i = 0; i < d; ++i) mean += row[i] / static_cast<double>(d);
      for (int64_t i = 0; i < d; ++i) variance += (row[i] - mean) * (row[i] - mean);
      for (int64_t i = 0; i < d; ++i) {
        const auto at = static_cast<size_t>(r * d + i);
        const double w = weight[static_cast<size_t>(i)];
        const auto width = static_cast<double>(d);
        const double want_rms = w * row[i] / std::sqrt(squares / width + 1e-5);
        ASSERT_NEAR(rms[at], want_rms, 3e-6 * (std::fabs(want_rms) + 1e-3)) << d;
        const double want_layer =
            (row[i] - mean) / std::sqrt(variance / width + 1e-5) * w + bias[static_cast<size_t>(i)];
        ASSERT_NEAR(layer[at], want_layer, 1e-5) << d;
      }
    }
  }
}

TEST_P(ElementwiseTest, AddRows) {
  const std::vector<float> x = RandomFloats(77 * 1001, 1);
  const std::vector<float> before = RandomFloats(77 * 1001, 2);
  std::vector<float> y = before;
  AddRows(x.data(), 77, 1001, y.data());
  for (size_t i = 0; i < y.size(); ++i) ASSERT_EQ(y[i], before[i] + x[i]);
}

TEST_P(ElementwiseTest, RowsDoNotDependOnTheBatch) {
  const int64_t d = 577;
  const int64_t rows = 100;
  const std::vector<float> x = RandomFloats(rows * 2 * d, 1);
  const std::vector<float> weight = RandomFloats(d, 2);
  std::vector<float> rms(static_cast<size_t>(rows * d));
  std::vector<float> silu(rms);
  std::vector<float> one(static_cast<size_t>(d));
  RmsNorm(x.data(), weight.data(), rows, d, 1e-5f, rms.data());
  SiluMultiply(x.data(), rows, d, silu.data());
  for (int64_t r = 0; r < rows; ++r) {
    const size_t bytes = one.size() * sizeof(float);
    RmsNorm(&x[static_cast<size_t>(r * d)], weight.data(), 1, d, 1e-5f, one.data());
    ASSERT_EQ(std::memcmp(one.data(), &rms[static_cast<size_t>(r * d)], bytes), 0);
    SiluMultiply(&x[static_cast<size_t>(r * 2 * d)], 1, d, one.data());
    ASSERT_EQ(std::memcmp(one.data(), &silu[static_cast<size_t>(r * d)], bytes), 0);
  }
}

TEST_P(ElementwiseTest, RopeMatchesTheDefinition) {
  for (const int64_t head_dim : {2, 4, 8, 64, 128}) {
    const int64_t heads = 3;
    const int64_t stride = heads * head_dim + 7;
    const std::vector<int32_t> positions = {0, 1, 5, 300, 8191, 16383, 16384, 40000, -3};
    const auto rows = static_cast<int64_t>(positions.size());
    const std::vector<float> x = RandomFloats(rows * stride, 1);
    std::vector<float> y = x;
    const RopeTable rope(head_dim, 100000.0);
    rope.Rotate(y.data(), rows, heads, stride, positions.data());
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = 0; i < heads * head_dim / 2; ++i) {
        const int64_t pair = i % (head_dim / 2);
        const int64_t at = r * stride + i / (head_dim / 2) * head_dim + pair;
        const float exponent = static_cast<float>(2 * pair) / static_cast<float>(head_dim);
        const float inverse = 1.0f / std::pow(100000.0f, exponent);
        const float angle = static_cast<float>(positions[static_cast<size_t>(r)]) * inverse;
        const double c = std::cos(static_cast<double>(angle));
        const double s = std::sin(static_cast<double>(angle));
        const double x1 = x[static_cast<size_t>(at)];
        const double x2 = x[static_cast<size_t>(at + head_dim / 2)];
        ASSERT_NEAR(y[static_cast<size_t>(at)], x1 * c - x2 * s, 2e-6);
        ASSERT_NEAR(y[static_cast<size_t>(at + head_dim / 2)], x2 * c + x1 * s, 2e-6);
      }
    }
    EXPECT_GT(rope.bytes(), 0);
    EXPECT_LE(rope.bytes(), int64_t{17000} * head_dim * 4);
  }
}

TEST_P(ElementwiseTest, RopeUndoes) {
  const std::vector<float> x = RandomFloats(64, 1);
  std::vector<float> y = x;
  const std::vector<int32_t> position = {777};
  const RopeTable rope(64, 10000.0);
  rope.Rotate(y.data(), 1, 1, 64, position.data());
  EXPECT_NE(x, y);
  rope.Rotate(y.data(), 1, 1, 64, position.data(), -1.0f);
  for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(x[i], y[i], 1e-6);
}

TEST_P(ElementwiseTest, Bf16RoundsToNearestEven) {
  const float quiet = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  // 1 + 2^-8 lies half way between two bf16 numbers, 1 + 3 * 2^-8 too.
  const std::vector<float> x = {1.0f,      1.00390625f, 1.01171875f,   1.00390637f, -2.5f, infinity,
                                -infinity, quiet,       3.4028235e38f, 0.0f,        1e-40f};
  std::vector<uint16_t> half(x.size());
  std::vector<float> back(x.size());
  isa::Active().to_bf16(x.data(), static_cast<int64_t>(x.size()), half.data());
  isa::Active().from_bf16(half.data(), static_cast<int64_t>(x.size()), false, nullptr, back.data());
  EXPECT_EQ(back[0], 1.0f);
  EXPECT_EQ(back[1], 1.0f);
  EXPECT_EQ(back[2], 1.015625f);
  EXPECT_EQ(back[3], 1.0078125f);
  EXPECT_EQ(back[4], -2.5f);
  EXPECT_EQ(back[5], infinity);
  EXPECT_EQ(back[6], -infinity);
  EXPECT_TRUE(std::isnan(back[7]));
  EXPECT_EQ(back[8], infinity);
  EXPECT_EQ(back[9], 0.0f);
  EXPECT_NEAR(back[10], 1e-40f, 4.6e-41f);  // half of the smallest bf16 number
}

TEST_P(ElementwiseTest, LogitRunsFindWhatIsLarge) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const int64_t count : {1, 3, 63, 64, 65, 127, 128, 1000, 5003}) {
    std::vector<float> logits = RandomFloats(count, static_cast<uint32_t>(count), 3.0f);
    for (float& logit : logits) logit = std::round(logit * 4) / 4;  // ties
    if (count > 3) logits[1] = nan;
    const auto less = [](float a, float b) { return a < b || (std::isnan(a) && !std::isnan(b)); };
    const auto largest = std::max_element(logits.begin(), logits.end(), less);
    std::vector<float> maxima, scratch;
    const LogitRuns runs(logits, &maxima);
    EXPECT_EQ(runs.largest(), *largest);
    EXPECT_EQ(runs.ArgMax(), largest - logits.begin());
    EXPECT_EQ(ArgMax(logits), largest - logits.begin());
    for (const float least : {*largest, 1.0f, -100.0f}) {
      std::vector<int32_t> found, wanted;
      runs.VisitFrom(least, [&](int32_t id, float logit) {
        EXPECT_EQ(logit, logits[static_cast<size_t>(id)]);
        found.push_back(id);
      });
      for (int32_t i = 0; i < count; ++i) {
        if (logits[static_cast<size_t>(i)] >= least) wanted.push_back(i);
      }
      EXPECT_EQ(found, wanted);
    }
    for (const int64_t wanted : {int64_t{1}, int64_t{2}, count / 64, count}) {
      if (wanted == 0) continue;
      const float bound = runs.ReachedBy(wanted, &scratch);
      const auto reached =
          std::count_if(logits.begin(), logits.end(), [&](float x) { return x >= bound; });
      EXPECT_TRUE(reached >= wanted || bound == -std::numeric_limits<float>::infinity());
    }
  }
}

TEST_P(ElementwiseTest, BinsHoldEveryLogitInOrder) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  LogitBins bins;
  for (const int64_t count : {1, 2, 63, 64, 65, 1000, 5003}) {
    std::vector<float> logits = RandomFloats(count, static_cast<uint32_t>(count), 2.0f);
    if (count > 5) logits[3] = -std::numeric_limits<float>::infinity();
    if (count > 5) logits[5] = nan;
    for (const float divisor : {0.7f, 3.0f}) {
      std::vector<float> maxima;
      const LogitRuns runs(logits, &maxima);
      const float least = runs.largest() - 2;
      const float least_divided = (runs.largest() - 1.5f) / divisor;
      bins.Fill(runs, divisor, least, least_divided);
      size_t seen = 0;
      float above = std::numeric_limits<float>::infinity();
      for (int bin = 0; bin < LogitBins::kBins; ++bin) {
        double sum = 0;
        int32_t last = -1;
        float lowest = above;
        bins.VisitBin(bin, [&](int32_t id, float logit) {
          EXPECT_EQ(logit, logits[static_cast<size_t>(id)] / divisor);
          EXPECT_GT(id, last);
          EXPECT_LT(logit, above);
          last = id;
          lowest = std::min(lowest, logit);
          sum += std::exp(double{logit} - runs.largest() / divisor);
          ++seen;
        });
        above = lowest;
        EXPECT_NEAR(bins.Sum(bin), sum, 1e-6 * sum);
      }
      const auto wanted = std::count_if(logits.begin(), logits.end(), [&](float logit) {
        return logit >= least && logit / divisor >= least_divided;
      });
      EXPECT_EQ(seen, wanted);
    }
  }
}

TEST_P(ElementwiseTest, TheSmallestLogitIsNotNaN) {
  for (const int64_t count : {1, 15, 16, 100, 129}) {
    std::vector<float> logits = RandomFloats(count, 9, 3.0f);
    std::vector<float> maxima;
    EXPECT_EQ(LogitRuns(logits, &maxima).Smallest(),
              *std::min_element(logits.begin(), logits.end()));
    if (count == 1) continue;
    logits.front() = logits.back() = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(LogitRuns(logits, &maxima).Smallest(),
              *std::min_element(logits.begin() + 1, logits.end() - 1));
  }
}

TEST_P(ElementwiseTest, SumsOfExponentialsMatchTheDefinition) {
  for (const int64_t count : {1, 5, 16, 1023, 1024, 1025, 5003}) {
    const std::vector<float> x = RandomFloats(count, 3, 4.0f);
    for (const float divisor : {1.0f, 0.7f, 3.0f}) {
      double sum = 0;
      for (const float value : x) sum += std::exp(double{value / divisor} - 2.0);
      EXPECT_NEAR(SumExp(x, divisor, 2.0f) / sum, 1, 1e-6);
    }
    double sum = 0;
    for (const float value : x) sum += std::exp(double{value});
    EXPECT_NEAR(LogSumExp(x), std::log(sum), 1e-6);
  }
}

CONCERTINA_ALL_VARIANTS(ElementwiseTest);

}  // namespace
}  // namespace concertina
