#include "models/tensor/tensor_decoder.h"

#include <ATen/TensorOperators.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <vector>

#include "models/kernels/parallel.h"
#include "tests/support/tiny_llama.h"

namespace concertina {
namespace {

using concertina::testing::TinyLlamaConfig;

constexpr int32_t kRows = 3;

// What a runner that captures may rely on.
struct Trace {
  int steps = 0;
  std::set<uint64_t> generations;
};
Trace trace;

class TracingRunner final : public StepRunner {
 public:
  void Run(uint64_t generation, const std::function<void()>& step) override {
    ++trace.steps;
    trace.generations.insert(generation);
    step();
  }
};

std::unique_ptr<StepRunner> MakeTracingRunner() { return std::make_unique<TracingRunner>(); }

const DeviceKernels& TracingKernels() {
  static const DeviceKernels kernels = [] {
    DeviceKernels made = GenericKernels();
    made.make_step_runner = MakeTracingRunner;
    return made;
  }();
  return kernels;
}

LanguageConfig Config() {
  LanguageConfig config = TinyLlamaConfig();
  config.max_positions = 1000;
  return config;
}

std::unique_ptr<TensorDecoder> Make(const DeviceKernels* kernels) {
  const at::TensorOptions floats = at::TensorOptions().dtype(at::kFloat);
  auto decoder =
      std::make_unique<TensorDecoder>(Config(), RandomTensorWeights(Config(), /*seed=*/5, floats),
                                      TensorDecoder::Options{.rows = kRows,
                                                             .pool_pages = 2000,
                                                             .entries_per_page = 4,
                                                             .capture = kernels != nullptr,
                                                             .kernels = kernels});
  EXPECT_TRUE(decoder->SetPolicy("concertina", {}, Budget::Tokens(12)).ok());
  return decoder;
}

std::vector<int32_t> Ids(int32_t count) {
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < count; ++i) ids.push_back(i * i % Config().vocab);
  return ids;
}

// Where the tensors of a step are.
std::vector<const void*> Addresses(TensorDecoder& decoder) {
  std::vector<const void*> addresses{decoder.logits().const_data_ptr(),
                                     decoder.memory().store().rows.const_data_ptr(),
                                     decoder.step().plan().positions().const_data_ptr()};
  for (int layer = 0; layer < Config().layers; ++layer) {
    const PagedLayer& paged = decoder.memory().layer(layer);
    for (const at::Tensor& tensor :
         {paged.table, paged.order, paged.scores, paged.birth, paged.mass}) {
      addresses.push_back(tensor.const_data_ptr());
    }
  }
  return addresses;
}

class TensorDecoderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    SetThreads(1);
    trace = {};
  }
  const c10::InferenceMode inference_;
};

// Captured steps have the shapes of the tables, not of the longest row, and all rounds of
// evictions.
TEST_F(TensorDecoderTest, StepsThatCouldBeCapturedSayTheSame) {
  const auto eager = Make(nullptr);
  const auto captured = Make(&TracingKernels());
  for (TensorDecoder* decoder : {eager.get(), captured.get()}) {
    ASSERT_TRUE(decoder->Prefill(0, Ids(30)).ok());
    ASSERT_TRUE(decoder->Prefill(2, Ids(5)).ok());
  }
  uint64_t generation = 0;
  std::vector<const void*> addresses;
  for (int step = 0; step < 60; ++step) {
    ASSERT_TRUE(eager->Decode(Ids(kRows)).ok());
    ASSERT_TRUE(captured->Decode(Ids(kRows)).ok());
    for (const int64_t row : {0, 2}) {
      const at::Tensor apart = (eager->logits()[row] - captured->logits()[row]).abs().max();
      EXPECT_LT(apart.item<double>(), 1e-4) << "step " << step;
    }
    // Within a generation every tensor stays where it is.
    if (captured->memory().generation() == generation) {
      EXPECT_EQ(Addresses(*captured), addresses);
    }
    generation = captured->memory().generation();
    addresses = Addresses(*captured);
  }
  EXPECT_EQ(trace.steps, 60);
  // One at first; when row 2 meets its shares, more entries go at once than usual, and after that.
  EXPECT_LE(trace.generations.size(), 5U);
}

TEST_F(TensorDecoderTest, TablesGrow) {
  const auto decoder = Make(&TracingKernels());
  ASSERT_TRUE(decoder->SetPolicy("full", {}, Budget::Ratio(1.0)).ok());
  ASSERT_TRUE(decoder->Prefill(1, Ids(250)).ok());
  const auto eager = Make(nullptr);
  ASSERT_TRUE(eager->SetPolicy("full", {}, Budget::Ratio(1.0)).ok());
  ASSERT_TRUE(eager->Prefill(1, Ids(250)).ok());
  for (int step = 0; step < 12; ++step) {  // past 256 entries
    ASSERT_TRUE(decoder->Decode({}).ok());
    ASSERT_TRUE(eager->Decode({}).ok());
    const at::Tensor apart = (eager->logits()[1] - decoder->logits()[1]).abs().max();
    EXPECT_LT(apart.item<double>(), 1e-4) << "step " << step;
  }
  EXPECT_EQ(trace.generations.size(), 2U);
  EXPECT_EQ(decoder->row(1)->OldEntries(0), 262);
}

TEST_F(TensorDecoderTest, AStepThatLacksPagesChangesNothing) {
  const at::TensorOptions floats = at::TensorOptions().dtype(at::kFloat);
  // Two layers of two heads: 20 entries are exactly the pool's pages.
  TensorDecoder decoder(Config(), RandomTensorWeights(Config(), /*seed=*/5, floats),
                        {.rows = 1, .pool_pages = 20, .entries_per_page = 4});
  ASSERT_TRUE(decoder.SetPolicy("full", {}, Budget::Ratio(1.0)).ok());
  ASSERT_TRUE(decoder.Prefill(0, Ids(20)).ok());
  const at::Tensor before = decoder.logits().clone();
  EXPECT_EQ(decoder.Decode({}).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(decoder.row(0)->seen(), 20);
  EXPECT_EQ(decoder.row(0)->OldEntries(0), 20);
  EXPECT_TRUE(before.equal(decoder.logits()));
  decoder.Close(0);
  EXPECT_EQ(decoder.used_bytes(), 0);
}

}  // namespace
}  // namespace concertina
