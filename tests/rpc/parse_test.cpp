#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "server/engine/errors.h"
#include "server/rpc/parse/cache_options.h"
#include "server/rpc/parse/checks.h"
#include "server/rpc/parse/generate.h"
#include "server/rpc/parse/open_session.h"

namespace concertina {
namespace {

constexpr char kId[] = "0b9e4c1e-57d0-4b8a-9c3e-3f2b6a7d8e90";
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

// Counts what it is asked for, and knows every picture.
class FakeImages final : public ImageResolver {
 public:
  absl::StatusOr<std::shared_ptr<const PreparedImage>> Resolve(const v1::Image&,
                                                               std::string_view) override {
    ++resolved;
    return std::make_shared<const PreparedImage>();
  }
  int resolved = 0;
};

template <typename T>
std::string FieldOfError(const absl::StatusOr<T>& result) {
  if (result.ok()) return "(ok)";
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  return FieldOf(result.status());
}

v1::GenerateRequest GoodTurn() {
  v1::GenerateRequest request;
  request.set_session_id(kId);
  request.add_parts()->set_text("hello");
  return request;
}

absl::StatusOr<GenerateParams> Parse(const v1::GenerateRequest& request) {
  FakeImages images;
  return ParseGenerate(request, RpcLimits{}, EngineOptions{}, images);
}

absl::StatusOr<OpenSessionParams> Parse(const v1::OpenSessionRequest& request) {
  FakeImages images;
  return ParseOpenSession(request, RpcLimits{}, EngineOptions{}, images);
}

TEST(ChecksTest, OnlyLowerCaseUuidV4IsASessionId) {
  EXPECT_TRUE(IsUuidV4(kId));
  for (const char* bad :
       {"", "0", "0b9e4c1e-57d0-4b8a-9c3e-3f2b6a7d8e9", "0b9e4c1e-57d0-1b8a-9c3e-3f2b6a7d8e90",
        "0b9e4c1e-57d0-4b8a-7c3e-3f2b6a7d8e90", "0B9E4C1E-57D0-4B8A-9C3E-3F2B6A7D8E90",
        "0b9e4c1e-57d0-4b8a-9c3e-3f2b6a7d8e901", "0b9e4c1e-57d0-4b8a-9c3e-3f2b6a7d8eg0",
        "0b9e4c1e057d0-4b8a-9c3e-3f2b6a7d8e90"}) {
    EXPECT_FALSE(IsUuidV4(bad)) << bad;
  }
}

TEST(ChecksTest, RangesRefuseNan) {
  EXPECT_TRUE(CheckRange("f", 0.5, 0, 1).ok());
  for (const double bad : {-0.1, 1.1, kNan, kInf, -kInf})
    EXPECT_FALSE(CheckRange("f", bad, 0, 1).ok());
  EXPECT_EQ(FieldOf(CheckRange("f", int64_t{2}, 0, 1)), "f");
}

TEST(BudgetTest, EveryUnitHasItsRange) {
  v1::Budget budget;
  EXPECT_EQ(FieldOfError(ParseBudget(budget)), "budget");
  for (const double bad : {0.0, -0.2, 1.0001, kNan, kInf, -kInf}) {
    budget.set_ratio(bad);
    EXPECT_EQ(FieldOfError(ParseBudget(budget)), "budget.ratio") << bad;
  }
  for (const int64_t bad : {int64_t{0}, int64_t{-1}, std::numeric_limits<int64_t>::min()}) {
    budget.set_tokens(bad);
    EXPECT_EQ(FieldOfError(ParseBudget(budget)), "budget.tokens");
    budget.set_bytes(bad);
    EXPECT_EQ(FieldOfError(ParseBudget(budget)), "budget.bytes");
  }
  budget.set_ratio(1.0);
  EXPECT_EQ(ParseBudget(budget)->ratio, 1.0);
  budget.set_tokens(7);
  EXPECT_EQ(ParseBudget(budget)->unit, Budget::Unit::kTokens);
  EXPECT_EQ(ParseBudget(budget)->tokens, 7);
  budget.set_bytes(1 << 20);
  EXPECT_EQ(ParseBudget(budget)->bytes, 1 << 20);
}

TEST(CacheOptionsTest, OptionsReachTheEngine) {
  v1::CachePolicy policy;
  policy.set_name("elastic");
  policy.set_pure_sink(true);
  policy.set_merge(v1::MERGE_MODE_V_ONLY);
  policy.set_on_context_end(v1::ON_CONTEXT_END_REBASE);
  policy.set_entry_type(v1::ENTRY_TYPE_F32);
  policy.set_turn_fold(v1::TURN_FOLD_ISOLATE);
  policy.set_pin_system_prompt(true);
  const auto options = ParseCacheOptions(&policy, nullptr, "concertina");
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->policy, "elastic");
  EXPECT_TRUE(options->policy_options.pure_sink);
  EXPECT_EQ(options->policy_options.merge, MergeMode::kVOnly);
  EXPECT_EQ(options->on_context_end, OnContextEnd::kRebase);
  EXPECT_EQ(options->entry_type, EntryType::kF32);
  EXPECT_EQ(options->turn_fold, TurnFold::kIsolate);
  EXPECT_TRUE(options->pin_system_prompt);
  EXPECT_FALSE(options->budget.has_value());
  policy.set_turn_fold(v1::TURN_FOLD_FAIR);
  EXPECT_EQ(ParseCacheOptions(&policy, nullptr, "concertina")->turn_fold, TurnFold::kFair);
  policy.clear_turn_fold();
  EXPECT_EQ(ParseCacheOptions(&policy, nullptr, "concertina")->turn_fold, TurnFold::kRefold);
  policy.set_entry_type(v1::ENTRY_TYPE_INT8);
  EXPECT_EQ(ParseCacheOptions(&policy, nullptr, "concertina")->entry_type, EntryType::kInt8);
  policy.set_entry_type(v1::ENTRY_TYPE_PACKED);
  EXPECT_EQ(ParseCacheOptions(&policy, nullptr, "concertina")->entry_type, EntryType::kPacked);
}

TEST(CacheOptionsTest, WhatWouldNotActIsRefused) {
  v1::CachePolicy policy;
  policy.set_name("nonsense");
  EXPECT_EQ(FieldOfError(ParseCacheOptions(&policy, nullptr, "concertina")), "policy.name");
  policy.set_name("");
  policy.set_pure_sink(true);
  EXPECT_EQ(FieldOfError(ParseCacheOptions(&policy, nullptr, "concertina")), "policy.pure_sink");
  EXPECT_TRUE(ParseCacheOptions(&policy, nullptr, "elastic").ok());
  policy.Clear();
  policy.set_merge(v1::MERGE_MODE_MASS);
  EXPECT_EQ(FieldOfError(ParseCacheOptions(&policy, nullptr, "full")), "policy.merge");
  policy.Clear();
  policy.set_name("official");
  policy.set_turn_fold(v1::TURN_FOLD_FAIR);
  EXPECT_EQ(FieldOfError(ParseCacheOptions(&policy, nullptr, "full")), "policy.turn_fold");
  policy.set_turn_fold(v1::TURN_FOLD_REFOLD);
  EXPECT_TRUE(ParseCacheOptions(&policy, nullptr, "full").ok());
  policy.set_pin_system_prompt(true);
  EXPECT_EQ(FieldOfError(ParseCacheOptions(&policy, nullptr, "full")), "policy.pin_system_prompt");
  policy.Clear();
  policy.set_turn_fold(static_cast<v1::TurnFold>(77));
  EXPECT_EQ(FieldOfError(ParseCacheOptions(&policy, nullptr, "full")), "policy.turn_fold");
  policy.Clear();
  policy.set_entry_type(static_cast<v1::EntryType>(77));
  EXPECT_EQ(FieldOfError(ParseCacheOptions(&policy, nullptr, "full")), "policy.entry_type");
  policy.Clear();
  policy.set_on_context_end(v1::ON_CONTEXT_END_REBASE);
  EXPECT_EQ(FieldOfError(ParseCacheOptions(&policy, nullptr, "official")), "policy.on_context_end");
  EXPECT_TRUE(ParseCacheOptions(&policy, nullptr, "elastic").ok());
  policy.Clear();
  policy.set_on_context_end(static_cast<v1::OnContextEnd>(77));
  EXPECT_EQ(FieldOfError(ParseCacheOptions(&policy, nullptr, "full")), "policy.on_context_end");
}

TEST(SamplingTest, EveryNumberHasItsRange) {
  const std::vector<std::pair<std::string, std::vector<v1::Sampling>>> cases = [] {
    const auto make = [](auto set, std::vector<double> values) {
      std::vector<v1::Sampling> made;
      for (const double value : values) {
        v1::Sampling sampling;
        set(sampling, static_cast<float>(value));
        made.push_back(sampling);
      }
      return made;
    };
    return std::vector<std::pair<std::string, std::vector<v1::Sampling>>>{
        {"sampling.temperature",
         make([](v1::Sampling& s, float v) { s.set_temperature(v); }, {-1, 100.5, kNan, kInf})},
        {"sampling.top_p",
         make([](v1::Sampling& s, float v) { s.set_top_p(v); }, {-.1, 1.1, kNan, kInf})},
        {"sampling.min_p",
         make([](v1::Sampling& s, float v) { s.set_min_p(v); }, {-.1, 1, kNan, kInf})},
        {"sampling.repetition_penalty",
         make([](v1::Sampling& s, float v) { s.set_repetition_penalty(v); },
              {-1, 10.5, kNan, kInf})},
        {"sampling.top_k", make([](v1::Sampling& s, float) { s.set_top_k(-1); }, {0})},
    };
  }();
  for (const auto& [field, samplings] : cases) {
    for (const v1::Sampling& sampling : samplings) {
      EXPECT_EQ(FieldOfError(ParseSampling(sampling)), field) << sampling.ShortDebugString();
    }
  }
}

TEST(SamplingTest, ZeroMeansOff) {
  const auto params = ParseSampling({});
  ASSERT_TRUE(params.ok());
  EXPECT_EQ(params->temperature, 0);
  EXPECT_EQ(params->top_p, 1);
  EXPECT_EQ(params->repetition_penalty, 1);
}

TEST(GenerateTest, EachFieldIsNamed) {
  auto request = GoodTurn();
  EXPECT_EQ(FieldOfError(Parse(request)), "(ok)");
  request.set_session_id("x");
  EXPECT_EQ(FieldOfError(Parse(request)), "session_id");
  request = GoodTurn();
  request.clear_parts();
  EXPECT_EQ(FieldOfError(Parse(request)), "parts");
  request = GoodTurn();
  request.add_parts();
  EXPECT_EQ(FieldOfError(Parse(request)), "parts[1]");
  request.mutable_parts(1)->mutable_image();
  EXPECT_EQ(FieldOfError(Parse(request)), "parts[1].image");
  request.mutable_parts(1)->mutable_image()->set_data("");
  EXPECT_EQ(FieldOfError(Parse(request)), "parts[1].image.data");
  request.mutable_parts(1)->mutable_image()->set_sha256("abc");
  EXPECT_EQ(FieldOfError(Parse(request)), "parts[1].image.sha256");
  request.mutable_parts(1)->set_text("");
  EXPECT_EQ(FieldOfError(Parse(request)), "parts[1].text");
  request = GoodTurn();
  for (int i = 0; i < 256; ++i) request.add_parts()->set_text("a");
  EXPECT_EQ(FieldOfError(Parse(request)), "parts");
  request = GoodTurn();
  request.set_max_tokens(-1);
  EXPECT_EQ(FieldOfError(Parse(request)), "max_tokens");
  request.set_max_tokens(EngineOptions{}.max_tokens_limit + 1);
  EXPECT_EQ(FieldOfError(Parse(request)), "max_tokens");
  request = GoodTurn();
  request.set_expected_turn(-1);
  EXPECT_EQ(FieldOfError(Parse(request)), "expected_turn");
}

TEST(GenerateTest, StopsAreBounded) {
  auto request = GoodTurn();
  request.add_stop("a");
  request.add_stop("");
  EXPECT_EQ(FieldOfError(Parse(request)), "stop[1]");
  request.set_stop(1, std::string(257, 'x'));
  EXPECT_EQ(FieldOfError(Parse(request)), "stop[1]");
  request.set_stop(1, std::string(256, 'x'));
  EXPECT_EQ(FieldOfError(Parse(request)), "(ok)");
  for (int i = 0; i < 15; ++i) request.add_stop(std::string(1, 'b'));
  EXPECT_EQ(FieldOfError(Parse(request)), "stop");
}

TEST(GenerateTest, PicturesAreDecodedLastAndOnce) {
  FakeImages images;
  auto request = GoodTurn();
  request.add_parts()->mutable_image()->set_data("png");
  request.mutable_sampling()->set_temperature(-1);
  EXPECT_FALSE(ParseGenerate(request, RpcLimits{}, EngineOptions{}, images).ok());
  EXPECT_EQ(images.resolved, 0);
  request.clear_sampling();
  const auto params = ParseGenerate(request, RpcLimits{}, EngineOptions{}, images);
  ASSERT_TRUE(params.ok());
  EXPECT_EQ(images.resolved, 1);
  EXPECT_EQ(params->parts[0].image, nullptr);
  EXPECT_NE(params->parts[1].image, nullptr);
}

void AddMessage(v1::OpenSessionRequest& request, v1::Role role) {
  auto* message = request.add_history();
  message->set_role(role);
  message->add_parts()->set_text("text");
}

TEST(OpenSessionTest, HistoriesTakeTurns) {
  v1::OpenSessionRequest request;
  EXPECT_EQ(FieldOfError(Parse(request)), "(ok)");
  AddMessage(request, v1::ROLE_SYSTEM);
  EXPECT_EQ(FieldOfError(Parse(request)), "history");
  AddMessage(request, v1::ROLE_USER);
  EXPECT_EQ(FieldOfError(Parse(request)), "history");
  AddMessage(request, v1::ROLE_ASSISTANT);
  const auto params = Parse(request);
  ASSERT_TRUE(params.ok()) << params.status();
  EXPECT_EQ(params->history[2].role, HistoryMessage::Role::kAssistant);
  AddMessage(request, v1::ROLE_ASSISTANT);
  EXPECT_EQ(FieldOfError(Parse(request)), "history[3].role");
  request.mutable_history(3)->set_role(v1::ROLE_SYSTEM);
  EXPECT_EQ(FieldOfError(Parse(request)), "history[3].role");
  request.mutable_history(3)->set_role(v1::ROLE_UNSPECIFIED);
  EXPECT_EQ(FieldOfError(Parse(request)), "history[3].role");
}

TEST(OpenSessionTest, OnlyTheUserSendsPictures) {
  v1::OpenSessionRequest request;
  AddMessage(request, v1::ROLE_USER);
  AddMessage(request, v1::ROLE_ASSISTANT);
  request.mutable_history(0)->add_parts()->mutable_image()->set_data("png");
  EXPECT_EQ(FieldOfError(Parse(request)), "(ok)");
  request.mutable_history(1)->add_parts()->mutable_image()->set_data("png");
  EXPECT_EQ(FieldOfError(Parse(request)), "history[1].parts[1]");
  request.mutable_history(1)->clear_parts();
  EXPECT_EQ(FieldOfError(Parse(request)), "history[1].parts");
}

TEST(OpenSessionTest, OnlyTheUsersPartsArePinned) {
  v1::OpenSessionRequest request;
  for (const v1::Role role : {v1::ROLE_SYSTEM, v1::ROLE_USER, v1::ROLE_ASSISTANT}) {
    AddMessage(request, role);
  }
  request.mutable_history(1)->mutable_parts(0)->set_pin(true);
  const auto params = Parse(request);
  ASSERT_TRUE(params.ok()) << params.status();
  EXPECT_TRUE(params->history[1].parts[0].pin);
  EXPECT_FALSE(params->history[2].parts[0].pin);
  request.mutable_history(2)->mutable_parts(0)->set_pin(true);
  EXPECT_EQ(FieldOfError(Parse(request)), "history[2].parts[0].pin");
  request.mutable_history(2)->mutable_parts(0)->clear_pin();
  request.mutable_history(0)->mutable_parts(0)->set_pin(true);
  EXPECT_EQ(FieldOfError(Parse(request)), "history[0].parts[0].pin");
}

TEST(OpenSessionTest, APinnedSystemPromptIsThere) {
  v1::OpenSessionRequest request;
  request.mutable_policy()->set_pin_system_prompt(true);
  EXPECT_EQ(FieldOfError(Parse(request)), "policy.pin_system_prompt");
  request.set_system_prompt("Be brief.");
  EXPECT_TRUE(Parse(request)->cache.pin_system_prompt);
  request.clear_system_prompt();
  for (const v1::Role role : {v1::ROLE_SYSTEM, v1::ROLE_USER, v1::ROLE_ASSISTANT}) {
    AddMessage(request, role);
  }
  EXPECT_TRUE(Parse(request).ok());
}

TEST(OpenSessionTest, OneSystemPrompt) {
  v1::OpenSessionRequest request;
  request.set_system_prompt("be brief");
  EXPECT_EQ(Parse(request)->system_prompt, "be brief");
  AddMessage(request, v1::ROLE_SYSTEM);
  AddMessage(request, v1::ROLE_USER);
  AddMessage(request, v1::ROLE_ASSISTANT);
  EXPECT_EQ(FieldOfError(Parse(request)), "system_prompt");
}

TEST(OpenSessionTest, BadIdAndBudgetAreNamed) {
  v1::OpenSessionRequest request;
  request.set_session_id("nope");
  EXPECT_EQ(FieldOfError(Parse(request)), "session_id");
  request.set_session_id(kId);
  request.mutable_budget();
  EXPECT_EQ(FieldOfError(Parse(request)), "budget");
}

}  // namespace
}  // namespace concertina
