// Once the caches are full, a decode step allocates nothing, on no thread. What a sink does with a
// delta is its own affair.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "server/engine/sampler.h"
#include "tests/engine/engine_fixture.h"

namespace {

std::atomic<bool> g_counted{false};
std::atomic<int64_t> g_allocations{0};

void* Allocate(size_t bytes, size_t alignment) {
  if (g_counted.load(std::memory_order_relaxed)) ++g_allocations;
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, bytes > 0 ? bytes : 1) != 0) throw std::bad_alloc();
  return memory;
}

constexpr size_t kOrdinary = alignof(std::max_align_t);

}  // namespace

// The replaced functions of the whole program; those not here end in these.
void* operator new(size_t bytes) { return Allocate(bytes, kOrdinary); }
void* operator new(size_t bytes, std::align_val_t alignment) {
  return Allocate(bytes, static_cast<size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

namespace concertina::testing {
namespace {

// Counts between the step with `first` and the one with `last` batches of all sessions.
class CountingObserver final : public EngineObserver {
 public:
  CountingObserver(int64_t rows, int64_t first, int64_t last)
      : rows_(rows), first_(first), last_(last) {}

  // Once in every step, on the engine thread.
  void OnBatch(int64_t rows) override {
    if (rows != rows_ || !all_asked_) {
      // Those who have begun wait for the others, and for the caller, who allocates while it asks.
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      return;
    }
    ++steps_;
    if (steps_ == first_) {
      g_allocations = 0;
      g_counted = true;
    }
    if (steps_ != last_) return;
    g_counted = false;
    allocations_ = g_allocations.load();
  }
  void OnDecodeEviction(std::string_view, int64_t entries) override {
    if (g_counted) evicted_ += entries;
  }

  void AllAreAsked() { all_asked_ = true; }

  int64_t steps() const { return steps_; }
  int64_t allocations() const { return allocations_; }
  int64_t evicted() const { return evicted_; }

 private:
  const int64_t rows_, first_, last_;
  std::atomic<bool> all_asked_{false};
  std::atomic<int64_t> steps_{0}, allocations_{-1}, evicted_{0};
};

// Keeps nothing, as a sink that takes each delta's contents into memory of its own would.
class DroppingSink final : public TurnSink {
 public:
  void OnEvent(TurnEvent) override {}
  void OnDelta(const DeltaEvent& delta) override {
    tokens_ += static_cast<int64_t>(delta.token_ids.size());
  }
  void OnFinished(absl::Status status) override {
    status_ = std::move(status);
    done_.set_value();
  }

  int64_t tokens() const { return tokens_; }
  absl::Status Wait() {
    done_.get_future().wait();
    return status_;
  }

 private:
  std::atomic<int64_t> tokens_{0};
  absl::Status status_;
  std::promise<void> done_;
};

struct Load {
  int sessions;
  EntryType entries;
  SamplingParams sampling;
  std::vector<std::string> stops;
};

class SteadyStateTest : public ::testing::TestWithParam<Load> {};

TEST_P(SteadyStateTest, DecodingAllocatesNothing) {
  constexpr int64_t kWarm = 60;
  constexpr int64_t kSteps = 100;
  constexpr int32_t kTokens = 400;  // some sessions begin before others
  const Load& load = GetParam();
  const auto observer = std::make_shared<CountingObserver>(load.sessions, kWarm, kWarm + kSteps);
  EngineOptions options = TestEngine::DefaultOptions();
  options.default_entry_type = load.entries;
  TestEngine engine(options, TinyModel(), observer);
  CacheOptions cache;
  cache.budget = Budget::Tokens(24);  // reached during the warm-up
  std::vector<std::shared_ptr<DroppingSink>> sinks;
  std::vector<std::string> ids;
  for (int i = 0; i < load.sessions; ++i) ids.push_back(engine.OpenId(cache));
  for (const std::string& id : ids) {
    GenerateParams params = TestEngine::Params(id, "Once upon a time", kTokens);
    params.sampling = load.sampling;
    params.stop = load.stops;
    sinks.push_back(std::make_shared<DroppingSink>());
    engine.engine().Generate(std::move(params), sinks.back());
  }
  observer->AllAreAsked();
  for (const auto& sink : sinks) {
    EXPECT_TRUE(sink->Wait().ok());
    EXPECT_EQ(sink->tokens(), kTokens);
  }
  ASSERT_GE(observer->steps(), kWarm + kSteps);
  EXPECT_GE(observer->evicted(), kSteps * load.sessions);
  EXPECT_EQ(observer->allocations(), 0);
}

constexpr SamplingParams kSampled{
    .temperature = 1.5f, .top_p = 0.95f, .repetition_penalty = 1.2f, .seed = 3};

INSTANTIATE_TEST_SUITE_P(
    Loads, SteadyStateTest,
    ::testing::Values(Load{1, EntryType::kF32, {}, {}}, Load{1, EntryType::kBf16, {}, {}},
                      Load{16, EntryType::kF32, {}, {}}, Load{16, EntryType::kBf16, {}, {}},
                      Load{1, EntryType::kF32, kSampled, {"never said"}},
                      Load{16, EntryType::kBf16, kSampled, {"never said"}},
                      Load{16, EntryType::kInt8, {.temperature = 1, .top_k = 40, .seed = 5}, {}}),
    [](const auto& load) {
      return std::to_string(load.index) + "_" + std::to_string(load.param.sessions) + "Sessions";
    });

// A vocabulary larger than the tiny model's: rows that leave few tokens, most, and all.
TEST(SteadyStateSampler, ChoosingAllocatesNothing) {
  constexpr size_t kVocab = 49152;
  std::mt19937_64 random(4);
  std::normal_distribution<float> normal(0, 1);
  std::vector<float> logits(kVocab);
  SamplerScratch scratch;
  scratch.Reserve(kVocab);
  Sampler sampler(kSampled);
  for (const float scale : {6.0f, 1.0f, 0.0f}) {
    for (float& logit : logits) logit = scale * normal(random);
    if (scale == 6) sampler.Choose(logits, true, &scratch);
    g_allocations = 0;
    g_counted = true;
    for (int i = 0; i < 10; ++i) sampler.Choose(logits, true, &scratch);
    g_counted = false;
    EXPECT_EQ(g_allocations.load(), 0) << scale;
  }
}

}  // namespace
}  // namespace concertina::testing
