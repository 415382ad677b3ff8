#include "models/kernels/paired_matrix.h"

#include <cstring>
#include <memory>
#include <vector>

#include "tests/models/kernels/test_support.h"

namespace concertina {
namespace {

constexpr int64_t kRows = 100;
constexpr int64_t kColumns = 64;

const std::vector<float>& Weights() {
  static const std::vector<float> kWeights = RandomFloats(kRows * kColumns, 1);
  return kWeights;
}

absl::StatusOr<std::unique_ptr<PackedMatrix>> PackOne(MatrixType type) {
  return PackedMatrix::Pack(type, kRows, kColumns, [](int64_t begin, int64_t end, float* out) {
    std::memcpy(out, &Weights()[static_cast<size_t>(begin * kColumns)],
                static_cast<size_t>((end - begin) * kColumns) * sizeof(float));
    return absl::OkStatus();
  });
}

std::vector<float> Product(const PackedMatrix& matrix, int64_t m) {
  const std::vector<float> x = RandomFloats(m * kColumns, 2);
  std::vector<float> y(static_cast<size_t>(m * kRows));
  matrix.Multiply(x.data(), m, kColumns, y.data(), kRows, /*accumulate=*/false, nullptr);
  return y;
}

TEST(PairedMatrixTest, TheNumberOfRowsChoosesTheCopy) {
  const auto paired = PackPlanned({MatrixType::kF32, MatrixType::kBf16, 8}, PackOne);
  ASSERT_TRUE(paired.ok()) << paired.status();
  const auto few = PackOne(MatrixType::kF32);
  const auto many = PackOne(MatrixType::kBf16);
  for (const int64_t m : {1, 7}) EXPECT_EQ(Product(**paired, m), Product(**few, m)) << m;
  for (const int64_t m : {8, 9, 64}) EXPECT_EQ(Product(**paired, m), Product(**many, m)) << m;
  EXPECT_NE(Product(**few, 8), Product(**many, 8));
  EXPECT_EQ((*paired)->n(), kRows);
  EXPECT_EQ((*paired)->k(), kColumns);
  EXPECT_EQ((*paired)->type(), MatrixType::kF32);
}

TEST(PairedMatrixTest, EveryCopyCounts) {
  const auto paired = PackPlanned({MatrixType::kF32, MatrixType::kBf16, 8}, PackOne);
  ASSERT_TRUE(paired.ok()) << paired.status();
  const auto few = PackOne(MatrixType::kF32);
  const auto many = PackOne(MatrixType::kBf16);
  EXPECT_EQ((*paired)->bytes(), (*few)->bytes() + (*many)->bytes());
  EXPECT_EQ(BytesOfCopies(**paired).few, (*few)->bytes());
  EXPECT_EQ(BytesOfCopies(**paired).many, (*many)->bytes());
}

TEST(PairedMatrixTest, OneTypeIsOneCopy) {
  int packed = 0;
  const auto count = [&](MatrixType type) {
    ++packed;
    return PackOne(type);
  };
  const auto single = PackPlanned(MatrixType::kF32, count);
  ASSERT_TRUE(single.ok()) << single.status();
  EXPECT_EQ(packed, 1);
  EXPECT_EQ(BytesOfCopies(**single).few, (*single)->bytes());
  EXPECT_EQ(BytesOfCopies(**single).many, 0);
  // Both types come to f32 here.
  const auto same = PackPlanned({MatrixType::kF32, MatrixType::kBf16, 8},
                                [](MatrixType) { return PackOne(MatrixType::kF32); });
  ASSERT_TRUE(same.ok()) << same.status();
  EXPECT_EQ((*same)->bytes(), (*single)->bytes());
}

TEST(PairedMatrixTest, EitherCopysErrorIsPassedOn) {
  for (const MatrixType broken : {MatrixType::kF32, MatrixType::kBf16}) {
    const auto pack = [&](MatrixType type) {
      if (type != broken) return PackOne(type);
      return absl::StatusOr<std::unique_ptr<PackedMatrix>>(absl::DataLossError("short file"));
    };
    const auto paired = PackPlanned({MatrixType::kF32, MatrixType::kBf16, 8}, pack);
    EXPECT_EQ(paired.status().code(), absl::StatusCode::kDataLoss);
  }
}

}  // namespace
}  // namespace concertina
