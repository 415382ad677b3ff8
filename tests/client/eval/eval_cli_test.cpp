// `concertina eval` against a fake service: what it asks, how it is interrupted, what it refuses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <sstream>

#include "nlohmann/json.hpp"
#include "tests/client/fake_service.h"
#include "tests/client/process.h"

namespace concertina {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using testing::ProcessResult;

constexpr char kImage[] = CONCERTINA_SOURCE_DIR "/docs/demo/scene.png";

// Half a nat a token; with "h2o" three quarters. The likeliest token is the one asked for.
v1::ScoreResponse FakeScore(const v1::ScoreRequest& request) {
  v1::ScoreResponse response;
  const float logprob = request.policy().name() == "h2o" ? -0.75F : -0.5F;
  for (const int32_t id : request.continuation().ids().ids()) {
    response.add_continuation_ids(id);
    response.add_logprobs(logprob);
    response.add_argmax_ids(id);
  }
  // The last choice, and with "h2o" the first.
  const int best = request.policy().name() == "h2o" ? 0 : request.choices_size() - 1;
  for (int i = 0; i < request.choices_size(); ++i) {
    response.add_choice_logprobs(i == best ? -1.0F : -2.0F);
  }
  response.mutable_cache()->set_tokens_seen(10);
  return response;
}

class EvalCliTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    service_.SetScore(FakeScore);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string WriteData(const std::string& text) const {
    const std::string path = folder_ + "/data.jsonl";
    std::ofstream(path) << text;
    return path;
  }
  std::string Out() const { return folder_ + "/out"; }
  ProcessResult Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"eval", "--out", Out(), "--concurrency", "1"});
    return testing::RunCli(server_.target(), arguments);
  }
  std::string Results() const {
    std::ostringstream text;
    text << std::ifstream(Out() + "/results.jsonl").rdbuf();
    return text.str();
  }

  testing::FakeServer server_;
  testing::FakeService& service_ = server_.service();
  const std::string folder_ =
      ::testing::TempDir() + "concertina-eval-" + std::to_string(getpid()) + "-fake";
};

constexpr char kPrompts[] = R"({"task": "a", "prompt": [1, 2], "ans": [3, 4, 5]}
{"task": "b", "prompt": [6], "ans": [7, 8]}
)";

const json& RowOf(const json& summary, const std::string& policy) {
  for (const json& row : summary["rows"]) {
    if (row["policy"] == policy && row["group"] == "all") return row;
  }
  static const json kNone;
  return kNone;
}

TEST_F(EvalCliTest, ScoresPromptsWithEverySettingAndTheFullCacheOnce) {
  const auto result = Run({WriteData(kPrompts), "--policies", "h2o,full", "--budgets", "0.2,64t",
                           "--entry-types", "int8", "--fold", "decode", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const json summary = json::parse(result.out, nullptr, false);
  ASSERT_TRUE(summary.is_object()) << result.out;
  EXPECT_EQ(summary["complete"], true);
  EXPECT_NEAR(RowOf(summary, "h2o")["metrics"]["ratio"]["value"], std::exp(0.25), 1e-9);
  EXPECT_EQ(RowOf(summary, "full")["metrics"]["ratio"]["value"], 1.0);
  const auto scored = service_.scored();
  ASSERT_EQ(scored.size(), 8u);  // full; h2o at two budgets; full in int8
  EXPECT_EQ(scored[0].policy().name(), "full");
  EXPECT_EQ(scored[0].policy().entry_type(), v1::ENTRY_TYPE_UNSPECIFIED);
  EXPECT_EQ(scored[0].fold(), v1::SCORE_FOLD_PREFILL_ONLY);
  EXPECT_EQ(scored[2].policy().name(), "h2o");
  EXPECT_EQ(scored[2].policy().entry_type(), v1::ENTRY_TYPE_INT8);
  EXPECT_EQ(scored[2].budget().ratio(), 0.2);
  EXPECT_EQ(scored[2].fold(), v1::SCORE_FOLD_DECODE);
  EXPECT_EQ(scored[4].budget().tokens(), 64);
  EXPECT_EQ(scored[6].policy().name(), "full");
  EXPECT_THAT(result.err, HasSubstr("8 of 8 cells, 100 %"));
}

TEST_F(EvalCliTest, AsksForTheFactsOfAllTurnsSoFar) {
  const std::string turn = R"({"ids": [1, 2], "probe": [3, 4], "gold": 6, "cand": [5, 6]})";
  const auto result =
      Run({WriteData("[" + turn + "," + turn + "," + turn + "]\n"), "--policies", "h2o",
           "--budgets", "0.2", "--probe-every", "2", "--fold", "decode", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto scored = service_.scored();
  ASSERT_EQ(scored.size(), 2u * (2 + 3));
  EXPECT_EQ(scored[0].turns_size(), 1);
  EXPECT_EQ(scored[2].turns_size(), 2);
  EXPECT_EQ(scored[2].prompt().ids().ids_size(), 2);
  EXPECT_EQ(scored[2].continuation().ids().ids_size(), 3);
  EXPECT_EQ(scored[2].continuation().ids().ids(2), 6);
  EXPECT_EQ(scored[2].choices_size(), 2);
  EXPECT_EQ(scored[9].fold(), v1::SCORE_FOLD_PREFILL_ONLY);
  const json summary = json::parse(result.out, nullptr, false);
  EXPECT_EQ(RowOf(summary, "full")["metrics"]["accuracy"]["value"], 1.0);
  EXPECT_EQ(RowOf(summary, "h2o")["metrics"]["accuracy"]["value"], 0.0);
  EXPECT_EQ(RowOf(summary, "h2o")["metrics"]["difference"]["count"], 5);
}

TEST_F(EvalCliTest, ChatsHaveHistoriesForksAndPicturesApart) {
  const auto result = Run(
      {WriteData(
           R"({"turns": [{"question": "I am Ann.", "reply": "Hello.", "probes": [{"question": "Who?",)"
           R"( "answer": "ok"}]}, {"question": "And?"}]})"
           "\n{\"image\": \"" +
           std::string(kImage) + R"(", "question": "What?", "image_turn": "apart"})"),
       "--policies", "full", "--max-tokens", "9", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto opened = service_.opened();
  ASSERT_EQ(opened.size(), 2u);
  ASSERT_EQ(opened[0].history_size(), 2);
  EXPECT_EQ(opened[0].history(0).parts(0).text(), "I am Ann.");
  EXPECT_EQ(opened[0].history(1).parts(0).text(), "Hello.");
  EXPECT_EQ(opened[0].policy().name(), "full");
  ASSERT_EQ(service_.forked().size(), 1u);
  const auto asked = service_.asked();
  ASSERT_EQ(asked.size(), 4u);
  EXPECT_EQ(asked[0].parts(0).text(), "Who?");
  EXPECT_NE(asked[0].session_id(), asked[1].session_id());
  EXPECT_EQ(asked[1].parts(0).text(), "And?");
  EXPECT_EQ(asked[1].max_tokens(), 9);
  // The picture alone, with one token for an answer; then the question.
  ASSERT_EQ(asked[2].parts_size(), 1);
  EXPECT_TRUE(asked[2].parts(0).has_image());
  EXPECT_EQ(asked[2].max_tokens(), 1);
  EXPECT_EQ(asked[3].session_id(), asked[2].session_id());
  EXPECT_EQ(asked[3].parts(0).text(), "What?");
  EXPECT_EQ(service_.closed().size(), 3u);
  const json cell = json::parse(Results().substr(0, Results().find('\n')));
  EXPECT_EQ(cell["answers"][0]["right"], true);
  EXPECT_EQ(cell["answers"][0]["probe"], true);
}

TEST_F(EvalCliTest, CtrlCKeepsWhatIsDoneAndTheNextRunGoesOn) {
  std::mutex mutex;
  std::condition_variable changed;
  std::atomic<int> calls = 0;
  bool held = true;
  service_.SetScore([&](const v1::ScoreRequest& request) {
    std::unique_lock lock(mutex);
    ++calls;
    changed.notify_all();
    changed.wait(lock, [&] { return calls < 3 || !held; });
    return FakeScore(request);
  });
  const std::string data = WriteData(kPrompts);
  const std::vector<std::string> arguments{
      "eval", "--out", Out(), "--concurrency", "1", "--policies", "h2o", "--budgets", "0.2", data};
  {
    testing::TerminalProcess eval(server_.target(), arguments);
    {
      std::unique_lock lock(mutex);
      ASSERT_TRUE(changed.wait_for(lock, std::chrono::seconds(60), [&] { return calls == 3; }));
    }
    eval.Type("\x03");
    EXPECT_TRUE(eval.WaitFor("stopping")) << eval.output();
    eval.Type("\x03");
    EXPECT_EQ(eval.WaitForExit(), 130) << eval.output();
  }
  const std::string first = Results();
  EXPECT_EQ(std::count(first.begin(), first.end(), '\n'), 2);
  {
    const std::lock_guard lock(mutex);
    held = false;
    changed.notify_all();
  }
  const auto second = testing::RunCli(server_.target(), arguments);
  EXPECT_EQ(second.exit_code, 0) << second.err;
  EXPECT_EQ(calls, 5);
  EXPECT_EQ(Results().substr(0, first.size()), first);
  EXPECT_THAT(second.out, HasSubstr("h2o 0.2"));
  // Everything is there: nothing is asked.
  EXPECT_EQ(testing::RunCli(server_.target(), arguments).out, second.out);
  EXPECT_EQ(calls, 5);
  std::vector<std::string> anew = arguments;
  anew.emplace_back("--no-resume");
  EXPECT_EQ(testing::RunCli(server_.target(), anew).out, second.out);
  EXPECT_EQ(calls, 9);
}

TEST_F(EvalCliTest, ARefusedCellFailsAndTheRestIsMeasured) {
  service_.SetScore([](const v1::ScoreRequest& request) {
    return request.policy().name() == "h2o" ? v1::ScoreResponse() : FakeScore(request);
  });
  const auto result = Run({WriteData(kPrompts), "--policies", "h2o,local", "--budgets", "0.2"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("data.jsonl:1, h2o 0.2: INTERNAL"));
  EXPECT_THAT(result.err, HasSubstr("2 cells failed"));
  EXPECT_THAT(result.out, HasSubstr("local 0.2"));
  EXPECT_EQ(result.out.find("h2o"), std::string::npos);
}

TEST_F(EvalCliTest, WhatOnlyTheFullCacheCannotHoldIsMeasuredAlone) {
  service_.AddOpenStatus(
      testing::MakeError(grpc::FAILED_PRECONDITION, "too long", "CONTEXT_EXHAUSTED"));
  const auto result =
      Run({WriteData(R"({"turns": [{"question": "I am Ann.", "reply": "Hello.", "probes": )"
                     R"([{"question": "Who?", "answer": "ok"}]}]})"),
           "--policies", "h2o", "--budgets", "4MiB", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("CONTEXT_EXHAUSTED"));
  const json summary = json::parse(result.out, nullptr, false);
  EXPECT_EQ(summary["complete"], true);
  ASSERT_EQ(summary["rows"].size(), 1u);
  EXPECT_EQ(summary["rows"][0]["measure"], "alone");
  EXPECT_EQ(summary["rows"][0]["budget"], "4MiB");
  EXPECT_EQ(summary["rows"][0]["metrics"]["accuracy"]["value"], 1.0);
}

TEST_F(EvalCliTest, BadUseIsNamedAndNoServerIsExit3) {
  const std::string data = WriteData(kPrompts);
  EXPECT_EQ(Run({}).exit_code, 2);
  EXPECT_EQ(Run({data, "--budgets", "7"}).exit_code, 2);
  EXPECT_EQ(Run({data, "--entry-types", "int9"}).exit_code, 2);
  EXPECT_EQ(Run({data, "--policies", "elastic:x"}).exit_code, 2);
  EXPECT_EQ(Run({folder_ + "/none.jsonl"}).exit_code, 2);
  const auto bad = Run({WriteData("{\"prompt\": \"a\"}\n{\"prompt\": 3}\n")});
  EXPECT_EQ(bad.exit_code, 2);
  EXPECT_THAT(bad.err, HasSubstr("data.jsonl:2: prompt must be a string"));
  EXPECT_TRUE(service_.scored().empty());
  EXPECT_FALSE(std::filesystem::exists(Out()));
  const auto none = testing::RunCli("127.0.0.1:1", {"eval", WriteData(kPrompts), "--out", Out()});
  EXPECT_EQ(none.exit_code, 3);
  EXPECT_THAT(none.err, HasSubstr("UNAVAILABLE"));
}

}  // namespace
}  // namespace concertina
