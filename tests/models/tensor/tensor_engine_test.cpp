#include "models/tensor/tensor_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "models/kernels/parallel.h"
#include "tests/models/tensor/cpu_session.h"
#include "tests/support/golden_file.h"
#include "tests/support/tiny_llama.h"

namespace concertina {
namespace {

using concertina::testing::CpuSession;
using concertina::testing::MaxAbsDifference;
using concertina::testing::MemorySource;
using concertina::testing::TinyLlama;
using concertina::testing::TinyLlamaConfig;

constexpr double kTolerance = 1e-4;

// Where the engine runs; what it is compared with is the CPU's.
std::string Device() {
  const char* name = std::getenv("CONCERTINA_TEST_DEVICE");
  return name != nullptr ? name : "cpu";
}

LanguageConfig Config() {
  LanguageConfig config = TinyLlamaConfig();
  config.layers = 4;
  if (Device() != "cpu") config.head_dim = 64;  // what models/cuda has kernels for
  config.max_positions = 400;
  return config;
}

// The model on the CPU's own kernels, and its weights.
struct Reference {
  MemorySource weights = TinyLlama(Config());
  std::unique_ptr<LanguageModel> model;

  Reference() {
    auto loaded = LanguageModel::Load(
        Config(), {.weights = std::make_shared<MemorySource>(weights)}, MatrixType::kF32);
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    model = *std::move(loaded);
  }
};

const Reference& Model() {
  static const Reference kReference;
  return kReference;
}

std::vector<int32_t> Ids(int32_t count, int32_t from) {
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < count; ++i) ids.push_back((i * i + 7 * i + from) % Config().vocab);
  return ids;
}

std::unique_ptr<TensorEngine> Engine(TensorEngineOptions options) {
  SetThreads(1);  // the operations are too small for more
  options.device = Device();
  auto engine = TensorEngine::Load(Config(), Model().weights, WeightNaming::kHuggingFace, options);
  EXPECT_TRUE(engine.ok()) << engine.status();
  return engine.ok() ? *std::move(engine) : nullptr;
}

// One row's logits.
std::vector<float> Row(const std::vector<float>& logits, int64_t row) {
  const auto begin = logits.begin() + row * Config().vocab;
  return {begin, begin + Config().vocab};
}

struct Setting {
  std::string name;
  std::string policy;
  PolicyOptions options;
  Budget budget;
};
void PrintTo(const Setting& setting, std::ostream* out) { *out << setting.name; }

std::vector<Setting> Settings() {
  return {{"Full", "full", {}, Budget::Ratio(1.0)},
          {"ConcertinaFifth", "concertina", {}, Budget::Ratio(0.2)},
          {"ConcertinaHalf", "concertina", {}, Budget::Ratio(0.5)},
          {"ConcertinaTokens", "concertina", {}, Budget::Tokens(9)},
          {"ConcertinaFloor", "concertina", {}, Budget::Tokens(1)},
          {"Elastic", "elastic", {}, Budget::Ratio(0.4)},
          {"ElasticMass",
           "elastic",
           {.merge = MergeMode::kMass, .pure_sink = true},
           Budget::Tokens(40)}};
}

class TensorEngineTest : public ::testing::TestWithParam<Setting> {
 protected:
  // Three conversations of unlike length, in a batch with a fourth row that is never open.
  void SetUp() override {
    engine_ = Engine({.rows = 4,
                      .pool_pages = 4000,
                      .entries_per_page = 4,
                      .policy = GetParam().policy,
                      .policy_options = GetParam().options,
                      .budget = GetParam().budget});
    ASSERT_NE(engine_, nullptr);
    for (int i = 0; i < 3; ++i) {
      auto policy = MakePolicy(GetParam().policy, GetParam().options);
      ASSERT_TRUE(policy.ok());
      sessions_.push_back(
          std::make_unique<CpuSession>(*Model().model, *std::move(policy), GetParam().budget));
    }
  }

  void Prefill(int32_t row, const std::vector<int32_t>& ids) {
    const absl::Status status = engine_->Prefill(row, ids);
    ASSERT_TRUE(status.ok()) << status;
    ExpectLogits(row, sessions_[row]->Prefill(ids));
  }

  void Decode(int32_t from) {
    std::vector<int32_t> ids = Ids(4, from);
    const absl::Status status = engine_->Decode(ids);
    ASSERT_TRUE(status.ok()) << status;
    for (int32_t row = 0; row < 3; ++row) ExpectLogits(row, sessions_[row]->Decode(ids[row]));
  }

  void ExpectLogits(int32_t row, const std::vector<float>& expected) {
    const auto logits = engine_->Logits();
    ASSERT_TRUE(logits.ok()) << logits.status();
    EXPECT_LT(MaxAbsDifference(Row(*logits, row), expected), kTolerance) << "row " << row;
  }

  void ExpectSameEntries() {
    for (int32_t row = 0; row < 3; ++row) {
      EXPECT_EQ(engine_->seen(row), sessions_[row]->cache().seen());
      for (int32_t layer = 0; layer < Config().layers; ++layer) {
        ASSERT_EQ(engine_->entries(row, layer), sessions_[row]->entries(layer));
        for (int32_t head = 0; head < Config().kv_heads; ++head) {
          SCOPED_TRACE(::testing::Message()
                       << "row " << row << ", layer " << layer << ", head " << head);
          ExpectSameHead(row, layer, head);
        }
      }
    }
  }

  void ExpectSameHead(int32_t row, int32_t layer, int32_t head) {
    const auto found = engine_->Contents(row, layer, head);
    ASSERT_TRUE(found.ok()) << found.status();
    const CpuSession::HeadEntries expected = sessions_[row]->Contents(layer, head);
    EXPECT_LT(MaxAbsDifference(found->k, expected.k), kTolerance);
    EXPECT_LT(MaxAbsDifference(found->v, expected.v), kTolerance);
    if (GetParam().policy == "full") return;
    EXPECT_EQ(found->births, expected.births);
    EXPECT_EQ(found->masses, expected.masses);
    // S is stored in 16 bits at a fold: what lies next to a step may be rounded either way.
    for (size_t i = 0; i < expected.scores.size(); ++i) {
      EXPECT_NEAR(found->scores[i], expected.scores[i], 1e-3F * expected.scores[i] + 1e-5F);
    }
  }

  std::unique_ptr<TensorEngine> engine_;
  std::vector<std::unique_ptr<CpuSession>> sessions_;
};

TEST_P(TensorEngineTest, KeepsWhatTheCpuKeepsAndSaysWhatItSays) {
  Prefill(0, Ids(70, 3));
  Prefill(1, Ids(23, 5));
  Prefill(2, Ids(1, 2));
  ExpectSameEntries();
  for (int32_t i = 0; i < 24; ++i) Decode(i);
  ExpectSameEntries();
  // A second turn: what was kept competes with the new prompt.
  Prefill(1, Ids(40, 9));
  for (int32_t i = 0; i < 6; ++i) Decode(11 * i);
  ExpectSameEntries();
  // And then old turns fade under a fixed budget.
  for (int32_t turn = 0; turn < 4; ++turn) {
    Prefill(1, Ids(9, turn));
    ExpectSameEntries();
  }
}

INSTANTIATE_TEST_SUITE_P(Policies, TensorEngineTest, ::testing::ValuesIn(Settings()),
                         [](const auto& param) { return param.param.name; });

TEST(TensorEngine, ARowDoesNotDependOnTheOthers) {
  const auto alone = Engine({.rows = 3, .pool_pages = 2000, .budget = Budget::Ratio(0.3)});
  const auto beside = Engine({.rows = 3, .pool_pages = 2000, .budget = Budget::Ratio(0.3)});
  ASSERT_TRUE(alone->Prefill(1, Ids(50, 1)).ok());
  ASSERT_TRUE(beside->Prefill(0, Ids(90, 4)).ok());
  ASSERT_TRUE(beside->Prefill(1, Ids(50, 1)).ok());
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(alone->Decode().ok());
    ASSERT_TRUE(beside->Decode().ok());
    EXPECT_LT(MaxAbsDifference(Row(*alone->Logits(), 1), Row(*beside->Logits(), 1)), kTolerance);
  }
}

TEST(TensorEngine, PagesComeBack) {
  const auto engine =
      Engine({.rows = 2, .pool_pages = 500, .entries_per_page = 4, .policy = "full"});
  EXPECT_EQ(engine->used_bytes(), 0);
  ASSERT_TRUE(engine->Prefill(0, Ids(60, 1)).ok());
  const int64_t full = engine->used_bytes();
  engine->Close(0);
  EXPECT_EQ(engine->used_bytes(), 0);
  ASSERT_TRUE(engine->SetPolicy("concertina", {}, Budget::Ratio(0.2)).ok());
  ASSERT_TRUE(engine->Prefill(0, Ids(60, 1)).ok());
  EXPECT_LT(engine->used_bytes(), full / 3);
  ASSERT_TRUE(engine->Decode().ok());
  // The pool cannot hold this prompt, even folded layer by layer: the row is given up.
  ASSERT_TRUE(engine->SetPolicy("full", {}, Budget::Ratio(1.0)).ok());
  EXPECT_EQ(engine->used_bytes(), 0);
  const absl::Status status = engine->Prefill(1, Ids(390, 1));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(engine->used_bytes(), 0);
  EXPECT_TRUE(engine->Prefill(1, Ids(60, 1)).ok());
}

TEST(TensorEngine, RefusesWhatItCannotDo) {
  const auto engine = Engine({.rows = 1, .pool_pages = 4000});
  EXPECT_EQ(engine->SetPolicy("concertina", {}, Budget::Bytes(4096)).code(),
            absl::StatusCode::kUnimplemented);
  EXPECT_EQ(engine->SetPolicy("concertina", {}, Budget::Ratio(2.0)).code(),
            absl::StatusCode::kInvalidArgument);
  const auto code = [&](int32_t row, const std::vector<int32_t>& ids) {
    return engine->Prefill(row, ids).code();
  };
  EXPECT_EQ(code(0, {}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(1, {1}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(0, {Config().vocab}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(0, Ids(401, 1)), absl::StatusCode::kInvalidArgument);
  ASSERT_EQ(code(0, Ids(400, 1)), absl::StatusCode::kOk);
  EXPECT_EQ(engine->Decode().code(), absl::StatusCode::kFailedPrecondition);
  auto elsewhere = TensorEngine::Random(Config(), 1, {.device = "nowhere", .pool_pages = 1});
  EXPECT_EQ(elsewhere.status().code(), absl::StatusCode::kInternal) << elsewhere.status();
}

// bf16 rounds: the answers are those of f32 nearly always, and nothing depends on the type.
TEST(TensorEngine, RunsInBf16) {
  const auto engine =
      Engine({.type = TensorType::kBf16, .pool_pages = 4000, .budget = Budget::Ratio(0.5)});
  const auto exact = Engine({.pool_pages = 4000, .budget = Budget::Ratio(0.5)});
  ASSERT_TRUE(engine->Prefill(0, Ids(80, 1)).ok());
  ASSERT_TRUE(exact->Prefill(0, Ids(80, 1)).ok());
  for (int i = 0; i < 4; ++i) {
    EXPECT_LT(MaxAbsDifference(*engine->Logits(), *exact->Logits()), 0.2);
    const std::vector<int32_t> next = Ids(1, i);
    ASSERT_TRUE(engine->Decode(next).ok());
    ASSERT_TRUE(exact->Decode(next).ok());
  }
  EXPECT_EQ(engine->weight_bytes() * 2, exact->weight_bytes());
  EXPECT_EQ(engine->used_bytes() * 2, exact->used_bytes());
}

}  // namespace
}  // namespace concertina
