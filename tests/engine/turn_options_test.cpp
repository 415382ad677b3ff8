// Pinned parts and turn folds through the engine: what is refused, what eviction, truncation and
// forks make of them.
#include <gtest/gtest.h>

#include <numeric>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/engine/errors.h"
#include "server/engine/prompt_builder.h"
#include "tests/engine/engine_fixture.h"

namespace concertina::testing {
namespace {

const char* const kQuestions[] = {"What is in the picture?", "Where is the red car?",
                                  "How many trees are there now?", "Say it again"};

GenerateParams Pinned(GenerateParams params) {
  for (ContentPart& part : params.parts) part.pin = true;
  return params;
}

absl::Status Ask(TestEngine& engine, GenerateParams params) {
  return engine.Start(std::move(params))->Wait();
}

int64_t PinnedTokens(const Segment& segment) {
  return std::accumulate(segment.pins.begin(), segment.pins.end(), int64_t{0},
                         [](int64_t sum, const TokenSpan& pin) { return sum + pin.count; });
}

TEST(PromptPins, AreTheTokensOfTheParts) {
  const Model& model = *TinyModel();
  const auto image = PlainImage(model, 0.4f);
  const auto prompt = FirstPrompt(model, "Be brief.",
                                  {{.text = {}, .image = image, .pin = true},
                                   {.text = "Look here.", .image = nullptr},
                                   {.text = kQuestions[1], .image = nullptr, .pin = true}},
                                  /*pin_system_prompt=*/true);
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  ASSERT_EQ(prompt->pins.size(), 3U);
  const auto text_of = [&](const TokenSpan& pin) {
    const auto first = prompt->prompt.begin() + pin.first;
    const std::vector<int32_t> ids(first, first + pin.count);
    std::string text;
    for (size_t i = 0; i < ids.size(); ++i) {
      model.tokenizer->AppendBytes(ids[i], pin.first == 0 && i == 0, &text);
    }
    return text;
  };
  EXPECT_TRUE(absl::StrContains(text_of(prompt->pins[0]), "Be brief."));
  EXPECT_EQ(prompt->pins[1].first, prompt->image_spans[0].first);
  EXPECT_EQ(prompt->pins[1].count, prompt->image_spans[0].second);
  EXPECT_TRUE(absl::StrContains(text_of(prompt->pins[2]), kQuestions[1]));
  EXPECT_FALSE(absl::StrContains(text_of(prompt->pins[2]), "Look"));
  EXPECT_TRUE(NextPrompt(model, {{.text = "Go on", .image = nullptr}})->pins.empty());
}

TEST(Pins, ThatDoNotFitAreRefusedBeforeAnyWork) {
  TestEngine engine;
  const std::string id = engine.OpenId({.budget = Budget::Tokens(20)});
  ASSERT_TRUE(Ask(engine, TestEngine::Params(id, kQuestions[0], 5)).ok());
  const SessionInfo before = *engine.Get(id);
  std::string text;
  for (int i = 0; i < 10; ++i) text += kQuestions[i % 4];
  const auto image = PlainImage(*TinyModel(), 0.4f);
  const auto prompt = NextPrompt(*TinyModel(), {{.text = {}, .image = image, .pin = true},
                                                {.text = text, .image = nullptr, .pin = true}});
  const absl::Status refused = Ask(engine, Pinned(TestEngine::Params(id, text, 5, image)));
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(refused), reason::kPinsExceedBudget);
  const int64_t pinned = PinnedTokens(*prompt);
  EXPECT_EQ(refused.message(), absl::StrCat(pinned, " pinned tokens need ", pinned + 2,
                                            " entries per layer and head, the budget grants 20"));
  const SessionInfo after = *engine.Get(id);
  EXPECT_EQ(after.turns, 1);
  EXPECT_EQ(after.cache.tokens_seen, before.cache.tokens_seen);
  EXPECT_EQ(after.cache.used_bytes, before.cache.used_bytes);
  EXPECT_TRUE(Ask(engine, TestEngine::Params(id, text, 5, image)).ok()) << "as well as if unpinned";
  ASSERT_TRUE(engine.SetBudget(id, Budget::Tokens(pinned + 2)).ok());
  EXPECT_TRUE(Ask(engine, Pinned(TestEngine::Params(id, text, 5, image))).ok());
}

// In every unit, whether the session is idle, forked or evicted, or answers.
TEST(Pins, ABudgetBelowThemIsRefused) {
  TestEngine engine(TestEngine::DefaultOptions(), TinyModel(), std::make_shared<UnhurriedSteps>());
  const std::string id = engine.OpenId({.budget = Budget::Ratio(1)});
  ASSERT_TRUE(Ask(engine, TestEngine::Params(id, kQuestions[0], 5)).ok());
  ASSERT_TRUE(Ask(engine, Pinned(TestEngine::Params(id, kQuestions[1], 5))).ok());
  const auto prompt = NextPrompt(*TinyModel(), {{.text = kQuestions[1], .image = {}, .pin = true}});
  const int64_t least = PinnedTokens(*prompt) + 2;
  const auto seen = static_cast<double>(engine.Get(id)->cache.tokens_seen);
  const auto fork = engine.Fork(id);
  ASSERT_TRUE(fork.ok());
  ASSERT_TRUE(engine.Evict(fork->session_id).ok());
  auto turn = engine.Start(TestEngine::Params(id, kQuestions[2], 300));
  for (const std::string& each : {id, fork->session_id}) {
    turn->WaitForTokens(1);
    for (const Budget& budget :
         {Budget::Tokens(least - 1), Budget::Bytes(1),
          Budget::Ratio(static_cast<double>(least - 1) / (2 * seen + 400))}) {
      const absl::Status refused = engine.SetBudget(each, budget).status();
      EXPECT_EQ(ReasonOf(refused), reason::kPinsExceedBudget) << refused;
      EXPECT_EQ(engine.Get(each)->cache.budget, Budget::Ratio(1));
    }
  }
  EXPECT_TRUE(engine.SetBudget(id, Budget::Tokens(least)).ok());
  ASSERT_TRUE(turn->Wait().ok());
  EXPECT_TRUE(engine.SetBudget(fork->session_id, Budget::Tokens(least)).ok());
  ASSERT_TRUE(Ask(engine, TestEngine::Params(fork->session_id, kQuestions[2], 5)).ok());
}

TEST(Pins, GoWithTheTurnThatIsForgotten) {
  TestEngine engine;
  const std::string id = engine.OpenId({.budget = Budget::Ratio(1)});
  ASSERT_TRUE(Ask(engine, TestEngine::Params(id, kQuestions[0], 5)).ok());
  ASSERT_TRUE(Ask(engine, Pinned(TestEngine::Params(id, kQuestions[1], 5))).ok());
  EXPECT_EQ(ReasonOf(engine.SetBudget(id, Budget::Tokens(3)).status()), reason::kPinsExceedBudget);
  ASSERT_TRUE(engine.Truncate(id, 1).ok());
  ASSERT_TRUE(engine.SetBudget(id, Budget::Tokens(3)).ok());
  ASSERT_TRUE(Ask(engine, TestEngine::Params(id, kQuestions[2], 5)).ok());
}

TEST(Pins, OfTheSystemPromptAndOfAHistoryAreHeldToTheBudget) {
  TestEngine engine;
  OpenSessionParams params;
  params.system_prompt = "You are a careful observer of pictures.";
  params.cache.pin_system_prompt = true;
  params.cache.budget = Budget::Tokens(4);
  const std::string id = engine.Open(params)->session_id;
  EXPECT_TRUE(engine.Get(id)->pin_system_prompt);
  EXPECT_EQ(ReasonOf(Ask(engine, TestEngine::Params(id, kQuestions[0], 5))),
            reason::kPinsExceedBudget);
  ASSERT_TRUE(engine.SetBudget(id, Budget::Ratio(1)).ok());
  EXPECT_TRUE(Ask(engine, TestEngine::Params(id, kQuestions[0], 5)).ok());

  using Role = HistoryMessage::Role;
  params.history = {{Role::kUser, {{.text = kQuestions[0], .image = nullptr, .pin = true}}},
                    {Role::kAssistant, {{.text = "A car.", .image = nullptr}}}};
  EXPECT_EQ(ReasonOf(engine.Open(params).status()), reason::kPinsExceedBudget);
  params.cache.budget = Budget::Tokens(100);
  const auto opened = engine.Open(params);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(ReasonOf(engine.SetBudget(opened->session_id, Budget::Tokens(4)).status()),
            reason::kPinsExceedBudget);
}

TEST(TurnOptions, AreRefusedWhereThePolicyHasNone) {
  TestEngine engine;
  CacheOptions options;
  options.policy = "official";
  const std::string id = engine.OpenId(options);
  EXPECT_EQ(FieldOf(Ask(engine, Pinned(TestEngine::Params(id, "x", 5)))), "parts[0].pin");
  OpenSessionParams params;
  params.cache = options;
  params.cache.turn_fold = TurnFold::kFair;
  EXPECT_EQ(engine.Open(params).status().code(), absl::StatusCode::kInvalidArgument);
  params.cache.turn_fold = TurnFold::kRefold;
  params.cache.pin_system_prompt = true;
  params.system_prompt = "Be brief.";
  EXPECT_EQ(FieldOf(engine.Open(params).status()), "policy.pin_system_prompt");
}

class Rebuild : public ::testing::TestWithParam<TurnFold> {};

// Evicted before every turn, pinned questions and pictures, budgets that change: the same tokens as
// a twin that never was evicted, and as a fork.
TEST_P(Rebuild, RemembersPinsAndTurns) {
  TestEngine engine;
  const auto image = PlainImage(*TinyModel(), 0.4f);
  for (const std::string_view policy :
       {"concertina", "concertina-hq", "elastic", "prefixkv", "h2o"}) {
    CacheOptions options;
    options.policy = policy;
    options.turn_fold = GetParam();
    options.budget = Budget::Ratio(0.6);
    std::string evicted = engine.OpenId(options);
    const std::string kept = engine.OpenId(options);
    EXPECT_EQ(engine.Get(kept)->turn_fold, GetParam());
    for (int turn = 0; turn < 5; ++turn) {
      if (turn > 0) {
        ASSERT_GT(*engine.Evict(evicted), 0);
      }
      if (turn == 2) {
        for (const auto& id : {evicted, kept}) {
          ASSERT_TRUE(engine.SetBudget(id, Budget::Ratio(0.45)).ok());
        }
      }
      if (turn == 3) evicted = engine.Fork(evicted)->session_id;
      std::vector<std::shared_ptr<RecordingSink>> twins;
      for (const auto& id : {evicted, kept}) {
        auto params =
            TestEngine::Params(id, kQuestions[turn % 4], 12, turn % 2 == 0 ? image : nullptr);
        params.parts.back().pin = turn % 2 == 1;
        params.parts.front().pin = params.parts.front().pin || turn == 2;
        twins.push_back(engine.Start(std::move(params)));
        ASSERT_TRUE(twins.back()->Wait().ok());
      }
      EXPECT_EQ(twins[0]->tokens(), twins[1]->tokens());
      EXPECT_EQ(twins[0]->completed()->cache.live_entries,
                twins[1]->completed()->cache.live_entries);
      EXPECT_EQ(twins[0]->completed()->cache.used_bytes, twins[1]->completed()->cache.used_bytes);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Folds, Rebuild,
                         ::testing::Values(TurnFold::kRefold, TurnFold::kIsolate, TurnFold::kFair));

}  // namespace
}  // namespace concertina::testing
