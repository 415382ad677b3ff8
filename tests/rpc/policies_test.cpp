// Every policy through the API: turns, what is given back, and options that would not act.
#include <chrono>
#include <set>
#include <thread>

#include "tests/rpc/server_fixture.h"

namespace concertina::testing {
namespace {

class PoliciesTest : public ServerTest {
 protected:
  static v1::OpenSessionRequest OpenWith(const std::string& policy, double ratio) {
    v1::OpenSessionRequest request;
    request.mutable_policy()->set_name(policy);
    request.mutable_budget()->set_ratio(ratio);
    return request;
  }

  std::vector<std::string> Policies() {
    grpc::ClientContext context;
    v1::GetModelResponse model;
    EXPECT_TRUE(stub().GetModel(&context, {}, &model).ok());
    return {model.policies().begin(), model.policies().end()};
  }

  static void AddLogprobs(const Turn& turn, std::vector<float>* logprobs) {
    for (const auto& event : turn.events) {
      logprobs->insert(logprobs->end(), event.delta().logprobs().begin(),
                       event.delta().logprobs().end());
    }
  }

  // Of every token of two turns; the budget is held after both.
  std::vector<float> Logprobs(const std::string& id, double ratio) {
    std::vector<float> logprobs;
    for (const char* text : {"Tell me the price of the red car in 2024, and of the green one.",
                             "Which of them is the faster one?"}) {
      v1::GenerateRequest request = TextTurn(id, text, 16);
      request.set_logprobs(true);
      request.set_ignore_eos(true);
      const Turn turn = RunTurn(stub(), request);
      EXPECT_TRUE(turn.status.ok()) << turn.status.error_message();
      AddLogprobs(turn, &logprobs);
      const v1::CacheState cache = SessionOrDie(id).cache();
      const auto kept = static_cast<int64_t>(ratio * static_cast<double>(cache.tokens_seen()));
      EXPECT_EQ(cache.live_entries(), kept * 3 * 4);
    }
    return logprobs;
  }

  std::string FieldRefused(const v1::OpenSessionRequest& request) {
    grpc::ClientContext context;
    v1::OpenSessionResponse response;
    const grpc::Status status = stub().OpenSession(&context, request, &response);
    EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT) << request.ShortDebugString();
    return DetailsOf(status).field;
  }
};

// Weights are deterministic: whatever differs, differs because other entries were kept.
TEST_F(PoliciesTest, EachAnswersFromWhatItKept) {
  StartServer();
  const std::vector<float> full = Logprobs(OpenOrDie(stub(), OpenWith("full", 1)), 1);
  std::set<std::vector<float>> different = {full};
  size_t policies = 0;
  for (const std::string& name : Policies()) {
    if (name == "full") continue;
    const std::string id = OpenOrDie(stub(), OpenWith(name, 0.25));
    const std::vector<float> logprobs = Logprobs(id, 0.25);
    EXPECT_EQ(logprobs.front(), full.front()) << name;  // sampled before anything was dropped
    EXPECT_TRUE(different.insert(logprobs).second) << name;
    EXPECT_EQ(logprobs, Logprobs(OpenOrDie(stub(), OpenWith(name, 0.25)), 0.25)) << name;
    EXPECT_EQ(SessionOrDie(id).policy().name(), name);
    ++policies;
  }
  EXPECT_GE(policies, 9U);
}

TEST_F(PoliciesTest, WhatPositionsDoAtTheEndOfTheContext) {
  StartServer();
  const std::set<std::string> refusing = {"elastic", "full", "official"};
  for (const std::string& name : Policies()) {
    const std::string id = OpenOrDie(stub(), OpenWith(name, 0.5));
    EXPECT_EQ(SessionOrDie(id).policy().on_context_end(),
              refusing.contains(name) ? v1::ON_CONTEXT_END_REFUSE : v1::ON_CONTEXT_END_REBASE)
        << name;
  }
  const std::string id = OpenOrDie(stub(), OpenWith("official", 0.5));
  ASSERT_TRUE(RunTurn(stub(), TextTurn(id, "Which animal is it?", 4)).status.ok());
  const v1::CacheState cache = SessionOrDie(id).cache();
  EXPECT_EQ(cache.next_position(), cache.tokens_seen() / 2);
}

TEST_F(PoliciesTest, HeadsMayDifferInLengthWithinTheBudget) {
  StartServer();
  v1::OpenSessionRequest open = OpenWith("concertina", 0.3);
  open.mutable_policy()->set_adaptive_heads(true);
  const std::string id = OpenOrDie(stub(), open);
  EXPECT_TRUE(SessionOrDie(id).policy().adaptive_heads());
  for (const char* question : {"Which animal is it?", "And what else is there?"}) {
    ASSERT_TRUE(RunTurn(stub(), TextTurn(id, question, 8)).status.ok());
    const v1::CacheState cache = SessionOrDie(id).cache();
    EXPECT_EQ(cache.live_entries(), cache.budget_entries());
  }
}

TEST_F(PoliciesTest, OptionsThatWouldNotActAreRefused) {
  StartServer();
  for (const std::string& name : Policies()) {
    if (name == "elastic") continue;
    v1::OpenSessionRequest sink = OpenWith(name, 0.5);
    sink.mutable_policy()->set_pure_sink(true);
    EXPECT_EQ(FieldRefused(sink), "policy.pure_sink") << name;
    v1::OpenSessionRequest merge = OpenWith(name, 0.5);
    merge.mutable_policy()->set_merge(v1::MERGE_MODE_NONE);
    EXPECT_EQ(FieldRefused(merge), "policy.merge") << name;
    v1::OpenSessionRequest heads = OpenWith(name, 0.5);
    heads.mutable_policy()->set_adaptive_heads(true);
    if (name != "concertina") {
      EXPECT_EQ(FieldRefused(heads), "policy.adaptive_heads") << name;
    }
    v1::OpenSessionRequest repeat = OpenWith(name, 0.5);
    repeat.mutable_policy()->set_repeat_when_idle(true);
    if (name != "concertina-hq") {
      EXPECT_EQ(FieldRefused(repeat), "policy.repeat_when_idle") << name;
    }
  }
  v1::OpenSessionRequest turns = OpenWith("concertina", 0.5);
  turns.mutable_policy()->set_adaptive_heads(true);
  turns.mutable_policy()->set_turn_fold(v1::TURN_FOLD_FAIR);
  EXPECT_EQ(FieldRefused(turns), "policy.adaptive_heads");
  v1::OpenSessionRequest rebase = OpenWith("official", 0.5);
  rebase.mutable_policy()->set_on_context_end(v1::ON_CONTEXT_END_REBASE);
  EXPECT_EQ(FieldRefused(rebase), "policy.on_context_end");
}

// With packed entries as with others: what is pinned or kept by turns changes what is known, and a
// budget below the pins is refused.
TEST_F(PoliciesTest, PinsAndTurnsActUnderEveryEntryType) {
  StartServer();
  for (const auto type : {v1::ENTRY_TYPE_BF16, v1::ENTRY_TYPE_PACKED}) {
    std::set<std::vector<float>> different;
    for (const bool pin : {false, true}) {
      for (const auto fold : {v1::TURN_FOLD_REFOLD, v1::TURN_FOLD_ISOLATE, v1::TURN_FOLD_FAIR}) {
        v1::OpenSessionRequest open = OpenWith("concertina", 1);
        open.mutable_budget()->set_tokens(26);
        open.mutable_policy()->set_entry_type(type);
        open.mutable_policy()->set_turn_fold(fold);
        const std::string id = OpenOrDie(stub(), open);
        EXPECT_EQ(SessionOrDie(id).policy().turn_fold(), fold);
        std::vector<float> logprobs;
        for (const char* text :
             {"The gate opens at seven.", "Tell me of the red car and the trees.",
              "And of the green one, and of its price in 2024?"}) {
          v1::GenerateRequest request = TextTurn(id, text, 20);
          request.mutable_parts(0)->set_pin(pin && logprobs.empty());
          request.set_logprobs(true);
          request.set_ignore_eos(true);
          const Turn turn = RunTurn(stub(), request);
          ASSERT_TRUE(turn.status.ok()) << turn.status.error_message();
          AddLogprobs(turn, &logprobs);
        }
        EXPECT_TRUE(different.insert(logprobs).second) << type << ", " << pin << ", " << fold;
        grpc::ClientContext context;
        v1::UpdateSessionRequest smaller;
        smaller.set_session_id(id);
        smaller.mutable_budget()->set_tokens(3);
        smaller.mutable_update_mask()->add_paths("budget");
        v1::UpdateSessionResponse response;
        const grpc::Status status = stub().UpdateSession(&context, smaller, &response);
        EXPECT_EQ(DetailsOf(status).reason, pin ? "PINS_EXCEED_BUDGET" : "")
            << status.error_message();
      }
    }
  }
}

TEST_F(PoliciesTest, PromptsAreReadTwiceAtOnceOrWhenIdle) {
  StartServer();
  for (const bool when_idle : {false, true}) {
    v1::OpenSessionRequest open = OpenWith("concertina-hq", 0.25);
    open.mutable_policy()->set_repeat_when_idle(when_idle);
    const std::string id = OpenOrDie(stub(), open);
    EXPECT_EQ(SessionOrDie(id).policy().repeat_when_idle(), when_idle);
    EXPECT_EQ(SessionOrDie(id).repeated_turns(), 0);
    for (int32_t turn = 1; turn <= 2; ++turn) {
      const Turn answer = RunTurn(stub(), TextTurn(id, "Tell me the price of the red car.", 8));
      ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
      while (when_idle && SessionOrDie(id).repeated_turns() < turn) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      EXPECT_EQ(SessionOrDie(id).repeated_turns(), turn);
      EXPECT_EQ(SessionOrDie(id).turns(), turn);
    }
  }
}

TEST_F(PoliciesTest, NobodyIsIdleInAScore) {
  StartServer();
  v1::ScoreRequest request;
  request.mutable_policy()->set_name("concertina-hq");
  request.mutable_policy()->set_repeat_when_idle(true);
  request.mutable_prompt()->set_text("one two three");
  request.mutable_continuation()->set_text(" four");
  grpc::ClientContext context;
  v1::ScoreResponse response;
  EXPECT_EQ(DetailsOf(stub().Score(&context, request, &response)).field, "policy.repeat_when_idle");
}

}  // namespace
}  // namespace concertina::testing
