// Conversations far longer than the trained context.

#include <gtest/gtest.h>

#include <map>

#include "session_driver.h"

namespace concertina {
namespace {

using testing::Contents;
using testing::DecodeToken;
using testing::HeadContents;
using testing::LayerWriter;
using testing::MakePool;
using testing::PolicyOf;
using testing::Prefill;

constexpr CacheShape kShape{.layers = 3, .kv_heads = 2, .head_dim = 4};

// Keys carry their position in the first element, as a rotation would in all of them.
LayerWriter PositionWriter() {
  return [](const SessionCache& cache, int layer, LayerPrompt* prompt) {
    for (int head = 0; head < kShape.kv_heads; ++head) {
      for (int32_t i = 0; i < prompt->entries(); ++i) {
        const int64_t at = head * prompt->capacity + i;
        const uint32_t birth = prompt->birth[at];
        prompt->score[at] += static_cast<float>((birth * 7919U + layer * 31U + head) % 97U);
        if (i >= prompt->old_entries) {
          prompt->k[at * 4] = static_cast<float>(cache.PositionOf(birth));
          prompt->v[at * 4] = static_cast<float>(birth % 5U + 1U);
        }
      }
    }
  };
}

const RotateFn kShift = [](float* key, int64_t delta) { key[0] += static_cast<float>(delta); };

void CheckKeys(const SessionCache& cache, int64_t max_positions) {
  for (int layer = 0; layer < kShape.layers; ++layer) {
    for (int head = 0; head < kShape.kv_heads; ++head) {
      const HeadContents held = Contents(cache, layer, head);
      for (size_t i = 0; i < held.births.size(); ++i) {
        ASSERT_EQ(held.k[i * 4], static_cast<float>(cache.PositionOf(held.births[i])));
        ASSERT_LT(cache.PositionOf(held.births[i]), max_positions);
      }
    }
  }
}

TEST(RebaseTest, AThousandTurnsFitIntoASmallContext) {
  for (const Budget& budget : {Budget::Ratio(0.05), Budget::Tokens(2), Budget::Tokens(40)}) {
    const auto pool = MakePool(40000, kShape);
    SessionCache cache(pool.get(), kShape, EntryType::kF32, PolicyOf("concertina"), budget,
                       OnContextEnd::kRebase);
    const int64_t max_positions = 256;
    int rebases = 0;
    for (int turn = 0; turn < 1000; ++turn) {
      const int32_t prompt = 1 + turn % 13;
      const int32_t answer = turn % 7;
      const bool fits = cache.FitsContext(prompt + answer, max_positions);
      const int64_t before = cache.next_position();
      ASSERT_TRUE(cache.RebaseFor(prompt + answer, max_positions, kShift).ok());
      rebases += fits ? 0 : 1;
      ASSERT_EQ(cache.next_position() == before, fits);
      ASSERT_TRUE(cache.FitsContext(prompt + answer, max_positions));
      ASSERT_TRUE(Prefill(cache, prompt, PositionWriter()).ok());
      cache.BeginDecode();
      for (int step = 0; step < answer; ++step) {
        const auto position = static_cast<float>(cache.next_position());
        const std::vector<float> k = {position, 0, 0, 0, position, 0, 0, 0};
        for (int layer = 0; layer < kShape.layers; ++layer) {
          ASSERT_TRUE(cache.AppendToken(layer, k.data(), k.data()).ok());
          cache.EvictLayer(layer);
        }
        cache.CommitToken();
      }
      cache.EndDecode();
      if (turn % 10 == 0) {
        CheckKeys(cache, max_positions);
      }
    }
    EXPECT_GT(cache.seen(), 3 * max_positions);
    // About half the context is won each time.
    EXPECT_LE(rebases, cache.seen() / (max_positions / 4));
    EXPECT_GE(rebases, 10);
  }
}

TEST(RebaseTest, RefusingSessionsSayWhyAndChangeNothing) {
  const auto pool = MakePool(4000, kShape);
  SessionCache cache(pool.get(), kShape, EntryType::kF32, PolicyOf("elastic"), Budget::Ratio(0.5),
                     OnContextEnd::kRefuse);
  ASSERT_TRUE(Prefill(cache, 90, PositionWriter()).ok());
  EXPECT_TRUE(cache.RebaseFor(10, 100, kShift).ok());
  const absl::Status refused = cache.RebaseFor(11, 100, kShift);
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(refused.message().substr(0, 17), "CONTEXT_EXHAUSTED");
  EXPECT_EQ(cache.next_position(), 90);
  EXPECT_EQ(cache.live_entries(), 45 * 6);
}

TEST(RebaseTest, WorksBetweenDecodeSteps) {
  const auto pool = MakePool(4000, kShape);
  SessionCache cache(pool.get(), kShape, EntryType::kF32, PolicyOf("concertina"),
                     Budget::Ratio(0.3), OnContextEnd::kRebase);
  ASSERT_TRUE(Prefill(cache, 90, PositionWriter()).ok());
  cache.BeginDecode();
  ASSERT_TRUE(cache.RebaseFor(20, 100, kShift).ok());
  EXPECT_LE(cache.next_position(), 50);
  ASSERT_TRUE(DecodeToken(cache, 1).ok());
  EXPECT_EQ(cache.seen(), 91);
  cache.EndDecode();
}

TEST(RebaseTest, ATurnLargerThanTheContextIsRefused) {
  const auto pool = MakePool(4000, kShape);
  SessionCache cache(pool.get(), kShape, EntryType::kF32, PolicyOf("concertina"),
                     Budget::Ratio(0.3), OnContextEnd::kRebase);
  const absl::Status empty = cache.RebaseFor(101, 100, kShift);
  EXPECT_EQ(empty.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(empty.message().substr(0, 17), "CONTEXT_EXHAUSTED");
  ASSERT_TRUE(Prefill(cache, 90, PositionWriter()).ok());
  EXPECT_EQ(cache.RebaseFor(99, 100, kShift).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(cache.next_position(), 90);
}

}  // namespace
}  // namespace concertina
