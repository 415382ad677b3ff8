// Which types come out of given measurements.
#include "models/tuning/choose.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "models/tuning/weight_types.h"

namespace concertina {
namespace {

// Times of 1, 16 and 256 rows.
TypeRates Rates(MatrixType type, double bytes, double one, double sixteen, double many) {
  return {.type = type, .bytes_per_parameter = bytes, .seconds = {one, sixteen, many}};
}

// As on a CPU with dot products of bytes and of bf16.
std::vector<TypeRates> Zen4() {
  return {Rates(MatrixType::kF32, 4.0, 240, 340, 4400),
          Rates(MatrixType::kStored, 0.63, 38, 85, 1020),
          Rates(MatrixType::kBf16, 2.0, 130, 180, 2100)};
}

std::string Choose(const std::vector<TypeRates>& rates, const WantedTypes& wanted = {}) {
  const ChosenTypes chosen = ChooseTypes(rates, wanted);
  return PlanName(MatrixPlan(chosen.few, chosen.many, 1));
}

TEST(ChooseTest, OneCopyThatIsBestAtBothNeedsNoSecond) { EXPECT_EQ(Choose(Zen4()), "stored"); }

TEST(ChooseTest, TwoCopiesWhenPromptsGainEnough) {
  std::vector<TypeRates> rates = Zen4();
  rates[1].seconds[2] = 1.16 * 2100;
  EXPECT_EQ(Choose(rates), "stored+bf16");
  rates[1].seconds[2] = 1.14 * 2100;
  EXPECT_EQ(Choose(rates), "stored") << "hardly worth the memory";
}

TEST(ChooseTest, TwoCopiesWhenAnswersGainEnough) {
  // The best single copy is that for prompts.
  std::vector<TypeRates> rates = Zen4();
  rates[1].seconds[2] = 100 * 2100;
  EXPECT_EQ(Choose(rates), "stored+bf16");
}

TEST(ChooseTest, AllCopiesTogetherHaveALimit) {
  // f32 would be by far the fastest for prompts.
  std::vector<TypeRates> rates = Zen4();
  rates[0].seconds[2] = 10;
  EXPECT_EQ(Choose(rates), "stored");
  // Blocks with 8 bits and a minimum are too much beside bf16.
  rates = {Rates(MatrixType::kStored, 1.13, 64, 90, 4000),
           Rates(MatrixType::kBf16, 2.0, 130, 180, 1000)};
  EXPECT_EQ(Choose(rates), "bf16");
}

TEST(ChooseTest, F32IsLeftWhenNothingElseIs) {
  EXPECT_EQ(Choose({Rates(MatrixType::kF32, 4.0, 240, 340, 4400)}), "f32");
  EXPECT_EQ(
      Choose({Rates(MatrixType::kF32, 4.0, 1, 1, 1), Rates(MatrixType::kStored, 1.06, 2, 2, 2)}),
      "stored");
}

TEST(ChooseTest, WhatCostsTooMuchIsNotTakenUnasked) {
  ASSERT_GT(PerplexityCost(MatrixType::kInt8), kPerplexityCostMax);
  const std::vector<TypeRates> rates = {Rates(MatrixType::kInt8, 1.06, 10, 10, 100),
                                        Rates(MatrixType::kBf16, 2.0, 130, 180, 2100)};
  EXPECT_EQ(Choose(rates), "bf16");
  EXPECT_EQ(Choose(rates, {.few = MatrixType::kInt8, .many = MatrixType::kInt8}), "int8");
  EXPECT_EQ(Choose(rates, {.few = MatrixType::kInt8, .many = {}}), "int8");
}

TEST(ChooseTest, EqualsAreSettledByDeterminismThenBySize) {
  EXPECT_EQ(Choose({Rates(MatrixType::kStored, 1.06, 100, 100, 102),
                    Rates(MatrixType::kBf16, 1.0, 100, 100, 100)}),
            "stored");
  EXPECT_EQ(Choose({Rates(MatrixType::kF32, 2.9, 100, 100, 100),
                    Rates(MatrixType::kStored, 0.63, 100, 100, 102)}),
            "stored");
  // Not equals.
  EXPECT_EQ(Choose({Rates(MatrixType::kStored, 1.06, 100, 100, 112),
                    Rates(MatrixType::kBf16, 1.0, 100, 100, 100)}),
            "bf16");
}

TEST(ChooseTest, WhatIsWantedIsTaken) {
  std::vector<TypeRates> rates = Zen4();
  rates.push_back(Rates(MatrixType::kInt8, 1.06, 64, 90, 1000));
  for (const MatrixType few : kAllMatrixTypes) {
    for (const MatrixType many : kAllMatrixTypes) {
      const ChosenTypes chosen = ChooseTypes(rates, {few, many});
      EXPECT_EQ(chosen.few, few);
      EXPECT_EQ(chosen.many, many);
    }
  }
  EXPECT_EQ(Choose(rates, {.few = {}, .many = MatrixType::kBf16}), "stored+bf16");
  EXPECT_EQ(Choose(rates, {.few = MatrixType::kBf16, .many = {}}), "bf16+stored");
}

TEST(ChooseTest, APictureIsManyRows) {
  EXPECT_TRUE(AllowedForVision(ChooseVisionType(Zen4())));
  std::vector<TypeRates> rates = {
      Rates(MatrixType::kF32, 4.0, 1, 1, 1100), Rates(MatrixType::kInt8, 1.06, 1, 1, 1050),
      Rates(MatrixType::kBf16, 2.0, 1, 1, 1000), Rates(MatrixType::kStored, 0.63, 1, 1, 100)};
  EXPECT_EQ(ChooseVisionType(rates), MatrixType::kInt8) << "deterministic, and hardly slower";
  rates[1].seconds[2] = 1120;
  EXPECT_EQ(ChooseVisionType(rates), MatrixType::kF32);
  rates[0].seconds[2] = rates[1].seconds[2] = 2000;
  EXPECT_EQ(ChooseVisionType(rates), MatrixType::kBf16);
}

TEST(ChooseTest, NamesAreReadBack) {
  for (const MatrixType type : kAllMatrixTypes) {
    EXPECT_EQ(MatrixTypeByName(MatrixTypeName(type)), type);
    EXPECT_GE(PerplexityCost(type), 0);
  }
  EXPECT_EQ(MatrixTypeByName("f64"), std::nullopt);
  EXPECT_EQ(MatrixTypeByName(""), std::nullopt);
}

TEST(ChooseTest, TwoCopiesAreNotDeterministic) {
  EXPECT_TRUE(IsDeterministic(MatrixPlan(MatrixType::kStored)));
  EXPECT_FALSE(IsDeterministic(MatrixPlan(MatrixType::kBf16)));
  EXPECT_FALSE(IsDeterministic(MatrixPlan(MatrixType::kStored, MatrixType::kInt8, 32)));
}

}  // namespace
}  // namespace concertina
