#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "models/kernels/isa.h"
#include "models/kernels/parallel.h"

namespace concertina {

inline std::vector<float> RandomFloats(int64_t count, uint32_t seed, float scale = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

// The variants this machine can run, slowest first.
inline std::vector<isa::Level> AvailableLevels() {
  std::vector<isa::Level> levels;
  for (isa::Level level :
       {isa::Level::kBase, isa::Level::kAvx2, isa::Level::kAvx512, isa::Level::kAvx512Dot}) {
    if (isa::Variant(level) != nullptr) levels.push_back(level);
  }
  return levels;
}

// Runs a test once per variant, on two threads unless it says otherwise.
class KernelTest : public testing::TestWithParam<isa::Level> {
 protected:
  void SetUp() override {
    isa::ForceForTesting(isa::Variant(GetParam()));
    SetThreads(2);
  }
  void TearDown() override { isa::ForceForTesting(nullptr); }
};

inline std::string LevelName(const testing::TestParamInfo<isa::Level>& info) {
  return isa::Variant(info.param)->name;
}

#define CONCERTINA_ALL_VARIANTS(fixture) \
  INSTANTIATE_TEST_SUITE_P(Variants, fixture, testing::ValuesIn(AvailableLevels()), LevelName)

}  // namespace concertina
