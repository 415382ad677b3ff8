#include "models/kernels/block_matrix.h"

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "models/weights/half.h"
#include "tests/models/kernels/test_support.h"

namespace concertina {
namespace {

constexpr BlockFormat kFormats[] = {{.bits = 4, .minima = false, .centre = 8},
                                    {.bits = 4, .minima = true, .centre = 0},
                                    {.bits = 8, .minima = false, .centre = 128},
                                    {.bits = 8, .minima = true, .centre = 0}};

std::string NameOf(const BlockFormat& format) {
  return std::to_string(format.bits) + (format.minima ? " bits, minima" : " bits");
}

// A random matrix [n, k] in blocks, and what it stands for.
struct Blocks {
  int64_t n, k;
  BlockFormat format;
  std::vector<uint8_t> quants;
  std::vector<uint16_t> scales, minima;

  float Value(int64_t row, int64_t column) const {
    const auto block = static_cast<size_t>((row * k + column) / kWeightBlock);
    const float scale = HalfToFloat(scales[block]);
    const float minimum = format.minima ? HalfToFloat(minima[block]) : -format.centre * scale;
    return scale * static_cast<float>(quants[static_cast<size_t>(row * k + column)]) + minimum;
  }

  absl::Status Read(int64_t begin, int64_t end, const BlockRows& out) const {
    const auto blocks = static_cast<size_t>((end - begin) * k / kWeightBlock);
    const auto first = begin * k / kWeightBlock;
    std::memcpy(out.quants, quants.data() + begin * k, blocks * kWeightBlock);
    std::memcpy(out.scales, scales.data() + first, blocks * 2);
    if (format.minima) std::memcpy(out.minima, minima.data() + first, blocks * 2);
    return absl::OkStatus();
  }
};

Blocks RandomBlocks(int64_t n, int64_t k, const BlockFormat& format, uint32_t seed) {
  Blocks made{.n = n, .k = k, .format = format, .quants = {}, .scales = {}, .minima = {}};
  std::mt19937 random(seed);
  for (int64_t i = 0; i < n * k; ++i) {
    made.quants.push_back(static_cast<uint8_t>(random() % (format.bits == 4 ? 16 : 256)));
  }
  for (const float value : RandomFloats(n * k / kWeightBlock, seed, 0.02F)) {
    made.scales.push_back(FloatToHalf(value));
  }
  for (const float value : RandomFloats(n * k / kWeightBlock, seed + 1, 0.2F)) {
    made.minima.push_back(FloatToHalf(value));
  }
  return made;
}

std::unique_ptr<PackedMatrix> PackOrDie(const Blocks& blocks) {
  auto matrix = PackBlockMatrix(MatrixType::kStored, blocks.n, blocks.k, blocks.format,
                                [&](int64_t begin, int64_t end, const BlockRows& out) {
                                  return blocks.Read(begin, end, out);
                                });
  EXPECT_TRUE(matrix.ok()) << matrix.status();
  return *std::move(matrix);
}

// x rounded as documented: to nearest in steps of max|x| / 127 of its block.
std::vector<double> Rounded(const std::vector<float>& x) {
  std::vector<double> rounded(x.size());
  for (size_t block = 0; block < x.size(); block += kWeightBlock) {
    double top = 0;
    for (size_t i = block; i < block + kWeightBlock; ++i) {
      top = std::max(top, std::fabs(static_cast<double>(x[i])));
    }
    for (size_t i = block; i < block + kWeightBlock; ++i) {
      rounded[i] = top == 0 ? 0 : std::nearbyint(x[i] * 127 / top) * top / 127;
    }
  }
  return rounded;
}

class BlockMatrixTest : public KernelTest {};

TEST_P(BlockMatrixTest, MatchesReference) {
  struct Shape {
    int64_t m, n, k;
  };
  for (const BlockFormat& format : kFormats) {
    for (const Shape& shape :
         {Shape{1, 1, 32}, Shape{2, 31, 64}, Shape{6, 32, 96}, Shape{7, 33, 64}, Shape{23, 65, 128},
          Shape{24, 64, 64}, Shape{50, 70, 32}, Shape{191, 33, 32}, Shape{192, 40, 64},
          Shape{205, 33, 32}}) {
      SCOPED_TRACE(NameOf(format) + " " + std::to_string(shape.m) + "x" + std::to_string(shape.n));
      const Blocks blocks = RandomBlocks(shape.n, shape.k, format, 7);
      const auto matrix = PackOrDie(blocks);
      const std::vector<float> x = RandomFloats(shape.m * shape.k, 2);
      const std::vector<double> rounded = Rounded(x);
      const std::vector<float> bias = RandomFloats(shape.n, 3);
      const int64_t ldy = shape.n + 5;
      const std::vector<float> before = RandomFloats(shape.m * ldy, 4);
      std::vector<float> y = before;
      matrix->Multiply(x.data(), shape.m, shape.k, y.data(), ldy, true, bias.data());
      for (int64_t at = 0; at < shape.m * ldy; ++at) {
        const int64_t row = at / ldy;
        const int64_t column = at % ldy;
        double expected = before[static_cast<size_t>(at)];
        double magnitude = 1;
        for (int64_t i = 0; column < shape.n && i < shape.k; ++i) {
          const double term =
              rounded[static_cast<size_t>(row * shape.k + i)] * blocks.Value(column, i);
          expected += term;
          magnitude += std::fabs(term);
        }
        if (column < shape.n) expected += bias[static_cast<size_t>(column)];
        // A value half way between two steps may round the other way in f32.
        ASSERT_NEAR(y[static_cast<size_t>(at)], expected, column < shape.n ? 1e-5 * magnitude : 0)
            << row << "," << column;
      }
    }
  }
}

TEST_P(BlockMatrixTest, RowDoesNotDependOnTheOthersOrOnThreads) {
  const int64_t n = 100;
  const int64_t k = 576;
  const int64_t m = 200;  // many rows take another way than fewer than 192
  for (const BlockFormat& format : kFormats) {
    const auto matrix = PackOrDie(RandomBlocks(n, k, format, 1));
    const std::vector<float> x = RandomFloats(m * k, 2);
    std::vector<float> whole(static_cast<size_t>(m * n));
    matrix->Multiply(x.data(), m, k, whole.data(), n, false, nullptr);
    std::vector<float> again(whole.size());
    SetThreads(1);
    matrix->Multiply(x.data(), m, k, again.data(), n, false, nullptr);
    EXPECT_EQ(whole, again);
    SetThreads(2);
    for (const int64_t count : {1, 2, 3, 5, 6, 7, 8, 13, 23, 191, 192, 193}) {
      for (int64_t first = 0; first + count <= m; first += 17) {
        std::vector<float> part(static_cast<size_t>(count * n));
        matrix->Multiply(&x[static_cast<size_t>(first * k)], count, k, part.data(), n, false,
                         nullptr);
        ASSERT_EQ(std::memcmp(part.data(), &whole[static_cast<size_t>(first * n)],
                              part.size() * sizeof(float)),
                  0)
            << NameOf(format) << ": " << count << " rows from " << first;
      }
    }
  }
}

// The integer and fused operations are the same on every variant that has a fused multiply-add.
TEST_P(BlockMatrixTest, VariantsWithFusedOperationsAgreeBitForBit) {
  if (GetParam() == isa::Level::kBase) return;
  const Blocks blocks = RandomBlocks(40, 96, kFormats[1], 5);
  const std::vector<float> x = RandomFloats(30 * 96, 6);
  std::vector<float> y(30 * 40);
  PackOrDie(blocks)->Multiply(x.data(), 30, 96, y.data(), 40, false, nullptr);
  isa::ForceForTesting(isa::Variant(isa::Level::kAvx2));
  std::vector<float> expected(y.size());
  PackOrDie(blocks)->Multiply(x.data(), 30, 96, expected.data(), 40, false, nullptr);
  EXPECT_EQ(y, expected);
}

TEST_P(BlockMatrixTest, Int8KeepsWeightsToHalfAStep) {
  const int64_t n = 40;
  const int64_t k = 64;
  const std::vector<float> weights = RandomFloats(n * k, 1);
  auto matrix =
      PackedMatrix::Pack(MatrixType::kInt8, n, k, [&](int64_t begin, int64_t end, float* out) {
        std::memcpy(out, weights.data() + begin * k,
                    static_cast<size_t>((end - begin) * k) * sizeof(float));
        return absl::OkStatus();
      });
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  EXPECT_EQ((*matrix)->type(), MatrixType::kInt8);
  // Rows of the identity are rounded without loss and read the weights back.
  std::vector<float> unit(static_cast<size_t>(k * k));
  for (int64_t i = 0; i < k; ++i) unit[static_cast<size_t>(i * k + i)] = 1;
  std::vector<float> columns(static_cast<size_t>(k * n));
  (*matrix)->Multiply(unit.data(), k, k, columns.data(), n, false, nullptr);
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t block = 0; block < k; block += kWeightBlock) {
      float top = 0;
      for (int64_t i = 0; i < kWeightBlock; ++i) {
        top = std::max(top, std::fabs(weights[static_cast<size_t>(row * k + block + i)]));
      }
      for (int64_t i = block; i < block + kWeightBlock; ++i) {
        ASSERT_NEAR(columns[static_cast<size_t>(i * n + row)],
                    weights[static_cast<size_t>(row * k + i)], top / 127 * 0.56);
      }
    }
  }
}

TEST_P(BlockMatrixTest, RowsThatAreNoWholeBlocksFallBackToF32) {
  auto matrix =
      PackedMatrix::Pack(MatrixType::kInt8, 8, 40, [](int64_t begin, int64_t end, float* out) {
        std::memset(out, 0, static_cast<size_t>((end - begin) * 40) * sizeof(float));
        return absl::OkStatus();
      });
  ASSERT_TRUE(matrix.ok());
  EXPECT_EQ((*matrix)->type(), MatrixType::kF32);
}

TEST_P(BlockMatrixTest, HoldsNoMoreThanTheBlocks) {
  const auto four = PackOrDie(RandomBlocks(64, 576, kFormats[1], 1));
  EXPECT_EQ(four->bytes(), 64 * 576 * 20 / 32);
  const auto eight = PackOrDie(RandomBlocks(64, 576, kFormats[2], 1));
  EXPECT_EQ(eight->bytes(), 64 * 576 * 34 / 32);
}

CONCERTINA_ALL_VARIANTS(BlockMatrixTest);

}  // namespace
}  // namespace concertina
