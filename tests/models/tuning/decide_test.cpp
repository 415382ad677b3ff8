// Measurements on this machine: what they say is its own affair, that they are made is tested.
#include "models/tuning/decide.h"

#include <gtest/gtest.h>

#include <chrono>
#include <ctime>

#include "models/kernels/parallel.h"
#include "models/tuning/choose.h"
#include "models/tuning/weight_types.h"

namespace concertina {
namespace {

constexpr BlockFormat kNibbles{.bits = 4, .minima = true, .centre = 0};

SampleMatrix Sample() {
  return {.n = 768, .k = 256, .stored = kNibbles, .model_parameters = 1 << 20};
}

// The type in `rates`, or null.
const TypeRates* Find(const WeightDecision& decision, MatrixType type) {
  for (const TypeRates& rates : decision.rates) {
    if (rates.type == type) return &rates;
  }
  return nullptr;
}

TEST(DecideTest, AutoMeasuresEveryTypeOnce) {
  const auto decision = DecideWeights(WeightSettings::Auto(), Sample());
  ASSERT_TRUE(decision.ok()) << decision.status();
  EXPECT_EQ(decision->rates.size(), Bf16MatrixSupported() ? 4u : 3u);
  for (const TypeRates& rates : decision->rates) {
    for (const double seconds : rates.seconds) {
      EXPECT_GT(seconds, 0);
      EXPECT_LT(seconds, 10);
    }
    const double weights = 768 * 256;
    EXPECT_DOUBLE_EQ(rates.read_bytes_per_second,
                     rates.bytes_per_parameter * weights / rates.seconds[0]);
    EXPECT_DOUBLE_EQ(rates.operations_per_second, 2 * weights * 256 / rates.seconds[2]);
  }
  EXPECT_EQ(Find(*decision, MatrixType::kF32)->bytes_per_parameter, 4);
  EXPECT_NEAR(Find(*decision, MatrixType::kInt8)->bytes_per_parameter, 34.0 / 32, 1e-9);
  EXPECT_NEAR(Find(*decision, MatrixType::kStored)->bytes_per_parameter, 20.0 / 32, 1e-9);
  EXPECT_TRUE(AllowedForVision(decision->vision));
}

TEST(DecideTest, WhatIsAskedForNeedsNoMeasurement) {
  for (const MatrixType type : {MatrixType::kF32, MatrixType::kInt8, MatrixType::kStored}) {
    const auto decision = DecideWeights(type, Sample());
    ASSERT_TRUE(decision.ok()) << decision.status();
    EXPECT_TRUE(decision->rates.empty());
    EXPECT_EQ(PlanName(decision->language), MatrixTypeName(type));
    EXPECT_EQ(decision->vision, type == MatrixType::kStored ? MatrixType::kInt8 : type);
  }
}

TEST(DecideTest, WhatIsAskedForCanBeShown) {
  WeightSettings settings = MatrixType::kInt8;
  settings.measure_all = true;
  const auto decision = DecideWeights(settings, Sample());
  ASSERT_TRUE(decision.ok()) << decision.status();
  ASSERT_EQ(decision->rates.size(), 1u);
  EXPECT_EQ(decision->rates[0].type, MatrixType::kInt8);
  EXPECT_GT(decision->rates[0].operations_per_second, 0);
}

TEST(DecideTest, APairHasAThreshold) {
  WeightSettings settings = MatrixType::kStored;
  settings.many = MatrixType::kF32;
  const auto decision = DecideWeights(settings, Sample());
  ASSERT_TRUE(decision.ok()) << decision.status();
  EXPECT_EQ(PlanName(decision->language), "stored+f32");
  EXPECT_GE(decision->language.many_from, 2);
  EXPECT_LE(decision->language.many_from, 256);
}

TEST(DecideTest, AFileWithoutBlocksHasNoneToKeep) {
  SampleMatrix sample = Sample();
  sample.stored.reset();
  const auto asked = DecideWeights(MatrixType::kStored, sample);
  ASSERT_TRUE(asked.ok()) << asked.status();
  EXPECT_EQ(asked->language.few, MatrixType::kInt8);
  const auto open = DecideWeights(WeightSettings::Auto(), sample);
  ASSERT_TRUE(open.ok()) << open.status();
  EXPECT_EQ(Find(*open, MatrixType::kStored), nullptr);
  EXPECT_NE(open->language.few, MatrixType::kStored);
}

TEST(DecideTest, RowsThatAreNoWholeBlocksAreDecidedToo) {
  SampleMatrix sample{.n = 40, .k = 33, .stored = {}, .model_parameters = 1 << 12};
  const auto decision = DecideWeights(WeightSettings::Auto(), sample);
  ASSERT_TRUE(decision.ok()) << decision.status();
  EXPECT_FALSE(decision->rates.empty());
}

// A model of 7 billion weights is not measured whole.
TEST(DecideTest, ALargeModelTakesNoLonger) {
  const SampleMatrix sample{
      .n = 22016, .k = 4096, .stored = kNibbles, .model_parameters = int64_t{7} << 30};
  const auto start = std::chrono::steady_clock::now();
  const std::clock_t cpu_start = std::clock();
  const auto decision = DecideWeights(WeightSettings::Auto(), sample);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  // Of all threads, but of this process alone.
  const double worked = static_cast<double>(std::clock() - cpu_start) / CLOCKS_PER_SEC;
  ASSERT_TRUE(decision.ok()) << decision.status();
  std::printf("%.3f s, processors %.3f s\n", took.count(), worked);
  for (const TypeRates& rates : decision->rates) {
    std::printf("%s: %.1f GB/s at 1 row, %.0f GOP/s at 256\n",
                std::string(MatrixTypeName(rates.type)).c_str(), rates.read_bytes_per_second / 1e9,
                rates.operations_per_second / 1e9);
  }
  EXPECT_LT(worked, 5.0 * Threads()) << "0.3 s a thread on a quiet machine";
}

}  // namespace
}  // namespace concertina
