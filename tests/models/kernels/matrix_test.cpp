#include "models/kernels/matrix.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <tuple>
#include <vector>

#include "tests/models/kernels/test_support.h"

namespace concertina {
namespace {

std::unique_ptr<PackedMatrix> PackOrDie(MatrixType type, int64_t n, int64_t k,
                                        const std::vector<float>& weights) {
  auto matrix = PackedMatrix::Pack(type, n, k, [&](int64_t begin, int64_t end, float* out) {
    std::memcpy(out, &weights[static_cast<size_t>(begin * k)],
                static_cast<size_t>((end - begin) * k) * sizeof(float));
    return absl::OkStatus();
  });
  EXPECT_TRUE(matrix.ok()) << matrix.status();
  return *std::move(matrix);
}

struct Shape {
  int64_t m, n, k;
};

// Compares with a double-precision product; the tolerance is relative to the sum of magnitudes.
void CheckAgainstReference(const PackedMatrix& matrix, const std::vector<float>& weights,
                           const Shape& shape, bool accumulate, bool with_bias, double tolerance) {
  const auto [m, n, k] = shape;
  const int64_t ldx = k + 3;
  const int64_t ldy = n + 5;
  const std::vector<float> x = RandomFloats(m * ldx, 2);
  const std::vector<float> bias = RandomFloats(n, 3);
  const std::vector<float> before = RandomFloats(m * ldy, 4);
  std::vector<float> y = before;
  matrix.Multiply(x.data(), m, ldx, y.data(), ldy, accumulate, with_bias ? bias.data() : nullptr);
  for (int64_t r = 0; r < m; ++r) {
    for (int64_t j = 0; j < ldy; ++j) {
      const double old = before[static_cast<size_t>(r * ldy + j)];
      const double got = y[static_cast<size_t>(r * ldy + j)];
      if (j >= n) {
        ASSERT_EQ(got, old) << "wrote past a row";
        continue;
      }
      double sum = (with_bias ? bias[static_cast<size_t>(j)] : 0.0) + (accumulate ? old : 0.0);
      double magnitude = std::fabs(sum) + 1e-3;
      for (int64_t i = 0; i < k; ++i) {
        const double term = static_cast<double>(x[static_cast<size_t>(r * ldx + i)]) *
                            weights[static_cast<size_t>(j * k + i)];
        sum += term;
        magnitude += std::fabs(term);
      }
      ASSERT_NEAR(got, sum, tolerance * magnitude)
          << m << "x" << n << "x" << k << " at " << r << "," << j;
    }
  }
}

class MatrixTest : public KernelTest {};

TEST_P(MatrixTest, F32MatchesReference) {
  for (const Shape& shape : {Shape{1, 1, 1}, Shape{2, 31, 5}, Shape{5, 32, 64}, Shape{6, 33, 65},
                             Shape{12, 64, 100}, Shape{13, 300, 96}, Shape{70, 47, 17}}) {
    const std::vector<float> weights = RandomFloats(shape.n * shape.k, 1);
    const auto matrix = PackOrDie(MatrixType::kF32, shape.n, shape.k, weights);
    for (const bool accumulate : {false, true}) {
      for (const bool bias : {false, true}) {
        CheckAgainstReference(*matrix, weights, shape, accumulate, bias, 1e-6);
      }
    }
  }
}

TEST_P(MatrixTest, F32RowDoesNotDependOnTheOthersOrOnThreads) {
  const int64_t n = 100;
  const int64_t k = 577;
  const int64_t m = 300;  // more than one group of row tiles
  const auto matrix = PackOrDie(MatrixType::kF32, n, k, RandomFloats(n * k, 1));
  const std::vector<float> x = RandomFloats(m * k, 2);
  std::vector<float> whole(static_cast<size_t>(m * n));
  matrix->Multiply(x.data(), m, k, whole.data(), n, false, nullptr);
  std::vector<float> again(static_cast<size_t>(m * n));
  SetThreads(1);
  matrix->Multiply(x.data(), m, k, again.data(), n, false, nullptr);
  EXPECT_EQ(whole, again);
  SetThreads(2);
  for (const int64_t count : {1, 2, 3, 5, 7, 8, 11, 12, 13, 24}) {
    for (int64_t first = 0; first + count <= m; first += 37) {
      std::vector<float> part(static_cast<size_t>(count * n));
      matrix->Multiply(&x[static_cast<size_t>(first * k)], count, k, part.data(), n, false,
                       nullptr);
      ASSERT_EQ(std::memcmp(part.data(), &whole[static_cast<size_t>(first * n)],
                            part.size() * sizeof(float)),
                0)
          << count << " rows from " << first;
    }
  }
}

TEST_P(MatrixTest, Bf16MatchesReference) {
  ASSERT_TRUE(Bf16MatrixSupported());
  for (const Shape& shape : {Shape{1, 64, 64}, Shape{3, 33, 65}, Shape{40, 300, 96}}) {
    const std::vector<float> weights = RandomFloats(shape.n * shape.k, 1);
    const auto matrix = PackOrDie(MatrixType::kBf16, shape.n, shape.k, weights);
    EXPECT_EQ(matrix->bytes(), 2 * shape.n * shape.k);
    CheckAgainstReference(*matrix, weights, shape, false, true, 0.01);
    CheckAgainstReference(*matrix, weights, shape, true, false, 0.01);
  }
}

TEST_P(MatrixTest, ReaderSeesEachRowOnceInBlocks) {
  const int64_t n = 1000;
  int64_t next = 0;
  int64_t largest = 0;
  auto matrix =
      PackedMatrix::Pack(MatrixType::kF32, n, 2, [&](int64_t begin, int64_t end, float* out) {
        EXPECT_EQ(begin, next);
        next = end;
        largest = std::max(largest, end - begin);
        std::memset(out, 0, static_cast<size_t>((end - begin) * 2) * sizeof(float));
        return absl::OkStatus();
      });
  ASSERT_TRUE(matrix.ok());
  EXPECT_EQ(next, n);
  EXPECT_LT(largest, n / 2);
  EXPECT_GE((*matrix)->bytes(), n * 2 * 4);
  EXPECT_EQ((*matrix)->n(), n);
  EXPECT_EQ((*matrix)->k(), 2);
}

TEST_P(MatrixTest, RefusesBadSizesAndPassesReaderErrors) {
  const auto none = [](int64_t, int64_t, float*) { return absl::OkStatus(); };
  const auto fails = [](int64_t, int64_t, float*) { return absl::DataLossError("short file"); };
  for (const MatrixType type : {MatrixType::kF32, MatrixType::kBf16}) {
    for (const auto& [n, k] : {std::pair<int64_t, int64_t>{0, 1},
                               {1, 0},
                               {-1, 8},
                               {std::numeric_limits<int64_t>::max(), 2},
                               {int64_t{1} << 30, int64_t{1} << 30}}) {
      EXPECT_EQ(PackedMatrix::Pack(type, n, k, none).status().code(),
                absl::StatusCode::kInvalidArgument);
    }
    EXPECT_EQ(PackedMatrix::Pack(type, 8, 8, fails).status().code(), absl::StatusCode::kDataLoss);
  }
}

CONCERTINA_ALL_VARIANTS(MatrixTest);

}  // namespace
}  // namespace concertina
