// What is held of a model's weights in memory, by the types asked for.
#include "models/bundle/weight_copies.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "models/tuning/choose.h"
#include "models/tuning/weight_types.h"

namespace concertina {
namespace {

constexpr char kTiny[] = CONCERTINA_SOURCE_DIR "/tests/goldens/llava15-tiny";
constexpr char kGguf[] = CONCERTINA_SOURCE_DIR "/.models/SmolLM2-135M-Instruct.Q4_1.gguf";

std::shared_ptr<const Model> Load(const char* path, const WeightSettings& settings) {
  auto model = LoadModel({.path = path, .vision_path = {}, .weight_type = settings});
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? *model : nullptr;
}

TEST(WeightCopiesTest, TwoCopiesOfTheBundledModelAreBothCounted) {
  WeightSettings settings = MatrixType::kStored;
  settings.many = MatrixType::kBf16;
  const auto model = Load(kGguf, settings);
  ASSERT_NE(model, nullptr);
  const std::vector<WeightCopy> copies = ListCopies(*model);
  ASSERT_EQ(copies.size(), 2u);
  EXPECT_EQ(copies[0].role, WeightCopy::Role::kDecode);
  EXPECT_EQ(copies[1].role, WeightCopy::Role::kPrefill);
  EXPECT_EQ(copies[0].rows_from, 1);
  EXPECT_EQ(copies[1].rows_from, model->weights.language.many_from);
  EXPECT_EQ(copies[1].bytes, 2 * copies[1].parameters);
  // Blocks of 4 bits with scale and minimum, the head's of 8 bits.
  EXPECT_GT(copies[0].bytes_per_parameter(), 20.0 / 32);
  EXPECT_LT(copies[0].bytes_per_parameter(), 0.75);
  EXPECT_EQ(ParametersOf(*model), copies[0].parameters) << "each matrix once";
  EXPECT_GE(model->weight_bytes, copies[0].bytes + copies[1].bytes);
  EXPECT_LE(model->weight_bytes, copies[0].bytes + copies[1].bytes + (1 << 20)) << "norms";
  EXPECT_FALSE(IsDeterministic(*model));
  EXPECT_GT(copies[0].read_bytes_per_second, 0) << "measured for the threshold";
}

TEST(WeightCopiesTest, WhatIsChosenUnaskedHasALimit) {
  const auto model = Load(kGguf, WeightSettings::Auto());
  ASSERT_NE(model, nullptr);
  double bytes_per_parameter = 0;
  for (const WeightCopy& copy : ListCopies(*model)) {
    bytes_per_parameter += copy.bytes_per_parameter();
    EXPECT_GT(copy.read_bytes_per_second, 0);
    EXPECT_GT(copy.operations_per_second, 0);
    EXPECT_LE(PerplexityCost(copy.type), kPerplexityCostMax);
  }
  EXPECT_LE(bytes_per_parameter, kBytesPerParameterMax);
}

TEST(WeightCopiesTest, AFolderHasNoBlocksToKeep) {
  const auto model = Load(kTiny, MatrixType::kStored);
  ASSERT_NE(model, nullptr);
  const std::vector<WeightCopy> copies = ListCopies(*model);
  ASSERT_EQ(copies.size(), 2u);
  EXPECT_EQ(copies[0].role, WeightCopy::Role::kAll);
  EXPECT_EQ(copies[0].type, MatrixType::kInt8);
  EXPECT_EQ(copies[1].role, WeightCopy::Role::kVision);
  EXPECT_EQ(ParametersOf(*model), copies[0].parameters + copies[1].parameters);
  EXPECT_TRUE(IsDeterministic(*model));
}

TEST(WeightCopiesTest, ATowerThatIsNotDeterministicCounts) {
  WeightSettings settings = MatrixType::kF32;
  settings.vision = MatrixType::kBf16;
  const auto model = Load(kTiny, settings);
  ASSERT_NE(model, nullptr);
  EXPECT_FALSE(IsDeterministic(*model));
}

}  // namespace
}  // namespace concertina
