// The life of a turn on the real engine with the tiny LLaVA checkpoint, f32.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "models/weights/safetensors.h"
#include "server/engine/errors.h"
#include "tests/engine/engine_fixture.h"

namespace concertina::testing {
namespace {

CacheOptions Cache(std::string policy, Budget budget) {
  CacheOptions cache;
  cache.policy = std::move(policy);
  cache.budget = budget;
  return cache;
}

std::vector<int32_t> GoldenIds(const std::string& name) {
  static const auto kGolden =
      SafetensorsFile::Open(CONCERTINA_SOURCE_DIR "/tests/goldens/llava15-tiny/golden.safetensors");
  auto ids = (*kGolden)->ReadInts(name);
  return {ids->begin(), ids->end()};
}

TEST(Turns, FullCacheGivesTheReferenceTokens) {
  TestEngine engine;
  const std::string id = engine.OpenId(Cache("full", Budget::Ratio(1)));
  auto turn = engine.Turn(id, "Tell me the price in 2024.", 32);
  EXPECT_EQ(turn->tokens(), GoldenIds("text_only/greedy_ids"));
  EXPECT_EQ(turn->completed()->finish_reason, FinishReason::kLength);
  EXPECT_EQ(turn->completed()->prompt_tokens, 34);
  EXPECT_EQ(turn->completed()->generated_tokens, 32);
}

TEST(Turns, EventsComeInOrder) {
  TestEngine engine;
  auto turn = engine.Turn(engine.OpenId(), "Which animal?", 4);
  std::vector<size_t> kinds = turn->event_kinds();
  std::erase(kinds, 1u);  // progress is sent by the clock
  ASSERT_GE(kinds.size(), 4u);
  EXPECT_EQ(kinds[0], 0u);
  EXPECT_EQ(kinds[1], 2u);
  EXPECT_EQ(kinds.back(), 4u);
  for (size_t i = 2; i + 1 < kinds.size(); ++i) EXPECT_EQ(kinds[i], 3u);
}

class BudgetsHold : public ::testing::TestWithParam<std::tuple<std::string, Budget, EntryType>> {};

TEST_P(BudgetsHold, AfterEveryTurn) {
  const auto& [policy, budget, type] = GetParam();
  if (type == EntryType::kPacked && policy == "elastic") {
    TestEngine engine;
    CacheOptions cache = Cache(policy, budget);
    cache.entry_type = type;
    EXPECT_EQ(engine.Open({.cache = cache}).status().code(), absl::StatusCode::kInvalidArgument);
    return;
  }
  TestEngine engine;
  CacheOptions cache = Cache(policy, budget);
  cache.entry_type = type;
  const std::string id = engine.OpenId(cache);
  for (int i = 0; i < 4; ++i) {
    auto image = i % 2 == 0 ? PlainImage(*TinyModel(), 0.1f * static_cast<float>(i)) : nullptr;
    auto turn = engine.Turn(id, "What is shown here, and why? Tell me all.", 12, image);
    ASSERT_TRUE(turn->completed());
    for (const CacheSnapshot& now : {turn->folded()->cache, turn->completed()->cache}) {
      EXPECT_LE(now.live_entries, now.budget_entries);
      if (budget.unit == Budget::Unit::kBytes && !now.raised_to_floor) {
        EXPECT_LE(now.used_bytes, budget.bytes);
      }
    }
    const FoldedEvent folded = *turn->folded();
    for (const FoldReport& layer : folded.layers) {
      // Bytes and fewer bits are small enough for a budget to hold all of the first prompt.
      const bool small = type == EntryType::kInt8 || type == EntryType::kPacked;
      EXPECT_LE(layer.entries_after, layer.entries_before - (small ? 0 : 1));
      EXPECT_GT(layer.mass_kept, 0);
      EXPECT_LE(layer.mass_kept, 1);
    }
    EXPECT_EQ(engine.Settled().pool_used_bytes, turn->completed()->cache.used_bytes);
  }
  EXPECT_TRUE(engine.Close(id));
  EXPECT_EQ(engine.Settled().pool_used_bytes, 0);
  EXPECT_EQ(engine.Settled().pool_reserved_bytes, 0);
}

INSTANTIATE_TEST_SUITE_P(
    Policies, BudgetsHold,
    ::testing::Combine(
        ::testing::Values("elastic", "concertina", "concertina-hq", "prefixkv", "snapkv"),
        ::testing::Values(Budget::Ratio(0.2), Budget::Tokens(12), Budget::Bytes(30000)),
        ::testing::Values(EntryType::kF32, EntryType::kBf16, EntryType::kInt8,
                          EntryType::kPacked)));

TEST(Turns, LiveBudgetChangesBothWays) {
  TestEngine engine;
  const std::string id = engine.OpenId(Cache("concertina", Budget::Tokens(40)));
  const int64_t wide =
      engine.Turn(id, "Describe it in detail.", 30)->completed()->cache.live_entries;
  ASSERT_TRUE(engine.SetBudget(id, Budget::Tokens(10)).ok());
  const auto narrow = engine.Turn(id, "And then?", 5)->completed()->cache;
  EXPECT_LT(narrow.live_entries, wide);
  EXPECT_LE(narrow.live_entries, 10 * 3 * 4);
  ASSERT_TRUE(engine.SetBudget(id, Budget::Tokens(60)).ok());
  const auto again = engine.Turn(id, "Go on, tell me the price.", 30)->completed()->cache;
  EXPECT_GT(again.live_entries, narrow.live_entries);
  EXPECT_FALSE(engine.SetBudget(id, Budget::Ratio(1.5)).ok());
}

TEST(Turns, StopStringEndsBeforeItAndStaysOut) {
  TestEngine engine;
  const std::string id = engine.OpenId(Cache("full", Budget::Ratio(1)));
  const std::string whole = engine.Turn(id, "Which animal?", 24)->text();
  const std::string stop = whole.substr(whole.size() / 2, 3);
  GenerateParams params =
      TestEngine::Params(engine.OpenId(Cache("full", Budget::Ratio(1))), "Which animal?", 24);
  params.stop = {stop};
  auto stopped = engine.Start(params);
  ASSERT_TRUE(stopped->Wait().ok());
  EXPECT_EQ(stopped->text(), whole.substr(0, whole.find(stop)));
  EXPECT_EQ(stopped->completed()->finish_reason, FinishReason::kStopString);
}

TEST(Turns, LogprobsAgreeWithScore) {
  TestEngine engine;
  GenerateParams params =
      TestEngine::Params(engine.OpenId(Cache("concertina", Budget::Ratio(0.5))), "Who?", 6);
  params.logprobs = true;
  auto turn = engine.Start(params);
  ASSERT_TRUE(turn->Wait().ok());
  ScoreParams score;
  // "USER: Who? ASSISTANT:" as the template renders it.
  const auto prompt =
      TinyModel()->tokenizer->Encode("USER: Who? ASSISTANT:", Tokenizer::Special::kInert);
  score.prompt.push_back(*TinyModel()->tokenizer->bos());
  score.prompt.insert(score.prompt.end(), prompt.begin(), prompt.end());
  score.continuation = turn->tokens();
  score.cache = Cache("concertina", Budget::Ratio(0.5));
  score.fold_in_decode = true;
  auto result = engine.Score(score);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->logprobs.size(), turn->logprobs().size());
  for (size_t i = 0; i < result->logprobs.size(); ++i) {
    EXPECT_FLOAT_EQ(result->logprobs[i], turn->logprobs()[i]);
  }
  EXPECT_EQ(result->argmax_ids, turn->tokens());
  EXPECT_EQ(engine.Settled().pool_used_bytes, 0 + engine.Get(params.session_id)->cache.used_bytes);
}

TEST(Turns, ScoreInOnePassEqualsStepByStepWithTheFullCache) {
  TestEngine engine;
  ScoreParams score;
  for (int i = 3; i < 60; ++i) score.prompt.push_back(i);
  for (int i = 100; i < 140; ++i) score.continuation.push_back(i);
  score.cache = Cache("full", Budget::Ratio(1));
  const auto pass = engine.Score(score);
  score.fold_in_decode = true;
  const auto steps = engine.Score(score);
  ASSERT_TRUE(pass.ok() && steps.ok());
  ASSERT_EQ(pass->logprobs.size(), 40u);
  for (size_t i = 0; i < 40; ++i) EXPECT_NEAR(pass->logprobs[i], steps->logprobs[i], 1e-4);
}

// Ids from `begin` on.
std::vector<int32_t> Ids(int32_t begin, int32_t count) {
  std::vector<int32_t> ids(static_cast<size_t>(count));
  std::iota(ids.begin(), ids.end(), begin);
  return ids;
}

TEST(Turns, AScoresTurnsAreOnePromptToTheFullCache) {
  TestEngine engine;
  ScoreParams whole;
  whole.prompt = Ids(3, 60);
  whole.continuation = Ids(100, 10);
  whole.cache = Cache("full", Budget::Ratio(1));
  ScoreParams parts = whole;
  parts.turns = {Ids(3, 20), Ids(23, 17)};
  parts.prompt = Ids(40, 23);
  const auto once = engine.Score(whole), by_turns = engine.Score(parts);
  ASSERT_TRUE(once.ok() && by_turns.ok());
  EXPECT_EQ(by_turns->cache.tokens_seen, 60);
  for (size_t i = 0; i < 10; ++i) {
    EXPECT_NEAR(once->logprobs[i], by_turns->logprobs[i], 1e-4);
  }
}

TEST(Turns, AScoresTurnsAreFoldedOneAfterTheOther) {
  TestEngine engine;
  ScoreParams once;
  once.prompt = Ids(3, 60);
  once.continuation = Ids(100, 10);
  once.cache = Cache("concertina", Budget::Ratio(0.25));
  ScoreParams by_turns = once;
  by_turns.turns = {Ids(3, 40)};
  by_turns.prompt = Ids(43, 20);
  const auto one = engine.Score(once), two = engine.Score(by_turns);
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_EQ(two->cache.tokens_seen, 60);
  EXPECT_EQ(one->cache.live_entries, two->cache.live_entries);
  EXPECT_NE(one->logprobs, two->logprobs);
  // 10 entries are left of the first turn when the second one comes.
  ASSERT_FALSE(two->layers.empty());
  int64_t before_once = 0, before_turns = 0;
  for (const FoldReport& fold : one->layers) before_once += fold.entries_before;
  for (const FoldReport& fold : two->layers) before_turns += fold.entries_before;
  EXPECT_EQ(before_turns, before_once / 2);
}

TEST(Turns, ScoresChoicesInThePlaceOfTheLastToken) {
  TestEngine engine;
  ScoreParams params;
  params.prompt = Ids(3, 20);
  params.continuation = Ids(50, 4);
  params.choices = {53, 7};
  params.cache = Cache("concertina", Budget::Ratio(0.5));
  const auto first = engine.Score(params);
  params.continuation.back() = 7;
  const auto second = engine.Score(params);
  params.fold_in_decode = true;
  const auto stepwise = engine.Score(params);
  ASSERT_TRUE(first.ok() && second.ok() && stepwise.ok());
  ASSERT_EQ(first->choice_logprobs.size(), 2u);
  EXPECT_EQ(first->choice_logprobs[0], first->logprobs[3]);
  EXPECT_EQ(first->choice_logprobs[1], second->logprobs[3]);
  EXPECT_EQ(second->choice_logprobs, first->choice_logprobs);
  ASSERT_EQ(stepwise->choice_logprobs.size(), 2u);
  EXPECT_EQ(stepwise->choice_logprobs[1], stepwise->logprobs[3]);
}

TEST(Turns, SamplingIsReproducibleBySeed) {
  TestEngine engine;
  auto run = [&](uint64_t seed) {
    GenerateParams params = TestEngine::Params(engine.OpenId(), "Read the text.", 16);
    params.sampling = {.temperature = 1.0f,
                       .top_p = 0.9f,
                       .top_k = 50,
                       .min_p = 0.01f,
                       .repetition_penalty = 1.1f,
                       .seed = seed};
    auto turn = engine.Start(params);
    EXPECT_TRUE(turn->Wait().ok());
    return turn->tokens();
  };
  EXPECT_EQ(run(7), run(7));
  EXPECT_NE(run(7), run(8));
}

TEST(Turns, RefusalsNameTheirReason) {
  TestEngine engine;
  auto missing = engine.Start(TestEngine::Params("nobody", "hi", 4));
  EXPECT_EQ(ReasonOf(missing->Wait()), reason::kSessionNotFound);
  const std::string id = engine.OpenId();
  GenerateParams params = TestEngine::Params(id, "hi", 4);
  params.expected_turn = 3;
  EXPECT_EQ(ReasonOf(engine.Start(params)->Wait()), reason::kTurnMismatch);
  params = TestEngine::Params(id, "hi", 1 << 20);
  EXPECT_EQ(FieldOf(engine.Start(params)->Wait()), "max_tokens");
  params = TestEngine::Params(id, std::string(4000, 'x'), 4);
  EXPECT_EQ(ReasonOf(engine.Start(params)->Wait()), reason::kPromptTooLong);
  OpenSessionParams open;
  open.session_id = id;
  EXPECT_EQ(ReasonOf(engine.Open(open).status()), reason::kSessionExists);
  open = {};
  open.cache.policy = "nonsense";
  EXPECT_EQ(FieldOf(engine.Open(open).status()), "policy.name");
  // Nothing of this harmed the session.
  EXPECT_TRUE(engine.Turn(id, "hi", 4)->completed());
}

TEST(Turns, AByteBudgetThatAFullCacheCannotKeepIsNamed) {
  TestEngine engine;
  const std::string id = engine.OpenId(Cache("full", Budget::Bytes(40000)));
  auto turn = engine.Start(TestEngine::Params(id, "Tell me the price in 2024.", 200));
  EXPECT_EQ(ReasonOf(turn->Wait()), reason::kBudgetTooSmall);
  EXPECT_LE(engine.Settled().pool_used_bytes, 40000);
}

TEST(Turns, HistoryIsReplayedAndFolded) {
  using Role = HistoryMessage::Role;
  TestEngine engine;
  OpenSessionParams open;
  open.history = {{Role::kUser, {{"What is this?", PlainImage(*TinyModel(), 0.5f)}}},
                  {Role::kAssistant, {{"A small red square.", nullptr}}}};
  open.history[0].parts = {{"", PlainImage(*TinyModel(), 0.5f)}, {"What is this?", nullptr}};
  auto session = engine.Open(open);
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_EQ(session->turns, 1);
  EXPECT_GT(session->cache.tokens_seen, 20);
  EXPECT_LE(session->cache.live_entries, session->cache.budget_entries);
  auto next = engine.Turn(session->session_id, "And the circle?", 4);
  EXPECT_EQ(next->completed()->turn, 2);
  EXPECT_EQ(next->completed()->carried_tokens, session->cache.tokens_seen);
  open.history.pop_back();
  EXPECT_EQ(FieldOf(engine.Open(open).status()), "history[0].role");
}

}  // namespace
}  // namespace concertina::testing
