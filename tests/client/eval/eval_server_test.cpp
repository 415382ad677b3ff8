// `concertina eval` against a server with a tiny model: real numbers, and the same ones again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "tests/integration/server_process.h"

namespace concertina::testing {
namespace {

using nlohmann::json;

json Ids(int begin, int count) {
  json ids = json::array();
  for (int i = 0; i < count; ++i) ids.push_back(3 + (begin + 7 * i) % 250);
  return ids;
}

class EvalOnAServer : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto server = ServerProcess::Start(TinyLlava());
    ASSERT_TRUE(server.ok()) << server.status();
    shared = *std::move(server);
  }
  static void TearDownTestSuite() { shared.reset(); }
  void SetUp() override {
    ASSERT_NE(shared, nullptr);
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    json prompts = json::array();
    for (int i = 0; i < 4; ++i) {
      prompts.push_back({{"task", i % 2 == 0 ? "copy" : "prose"},
                         {"prompt", Ids(i, 60)},
                         {"ans", Ids(5 * i + 1, 12)}});
    }
    Write("prompts.json", prompts.dump());
    json conversation = json::array();
    for (int i = 0; i < 4; ++i) {
      conversation.push_back({{"ids", Ids(9 * i, 25)},
                              {"probe", Ids(i, 4)},
                              {"gold", 20 + i},
                              {"cand", {19, 20, 21, 22, 23}}});
    }
    Write("conversations.json", json::array({conversation}).dump());
    Write("chats.jsonl",
          absl::StrCat(R"({"image": ")", SceneImage(0), R"(", "image_turn": "both", "turns": [)",
                       R"({"question": "What is it?", "answer": "nothing"},)",
                       R"({"question": "And now?", "probes": [{"question": "Who?"}]}]})", "\n",
                       R"({"prompt": "Tell me a story."})", "\n"));
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void Write(const std::string& name, const std::string& text) const {
    std::ofstream(absl::StrCat(folder_, "/", name)) << text;
  }
  std::string Path(const std::string& name) const { return absl::StrCat(folder_, "/", name); }

  std::vector<std::string> Arguments(const std::string& out) const {
    return {"eval",
            Path("prompts.json"),
            Path("conversations.json"),
            Path("chats.jsonl"),
            "--policies",
            "concertina,h2o",
            "--budgets",
            "0.25,1",
            "--out",
            Path(out),
            "--max-tokens",
            "6",
            "--json"};
  }
  json Eval(const std::vector<std::string>& arguments) const {
    const CommandResult run = RunCli(server(), arguments);
    EXPECT_EQ(run.exit_code, 0) << run.errors;
    return json::parse(run.output, nullptr, false);
  }

  static const json& Row(const json& summary, const std::string& measure, const std::string& policy,
                         const std::string& budget) {
    for (const json& row : summary["rows"]) {
      if (row["measure"] == measure && row["group"] == "all" && row["policy"] == policy &&
          row["budget"] == budget) {
        return row;
      }
    }
    ADD_FAILURE() << "no row " << measure << " " << policy << " " << budget;
    static const json kNone;
    return kNone;
  }
  static double Value(const json& row, const char* metric) {
    return row["metrics"][metric]["value"].get<double>();
  }

  static ServerProcess& server() { return *shared; }

  const std::string folder_ =
      ::testing::TempDir() + "concertina-eval-" + std::to_string(getpid()) + "-server";

 private:
  static std::unique_ptr<ServerProcess> shared;
};

std::unique_ptr<ServerProcess> EvalOnAServer::shared;

TEST_F(EvalOnAServer, TheFullCacheIsItselfAndSoIsAPolicyThatKeepsAll) {
  const json summary = Eval(Arguments("out"));
  ASSERT_TRUE(summary.is_object());
  for (const auto& [policy, budget] :
       {std::pair("full", "1"), std::pair("concertina", "1"), std::pair("h2o", "1")}) {
    const json& prompts = Row(summary, "perplexity", policy, budget);
    EXPECT_EQ(Value(prompts, "ratio"), 1.0) << policy;
    EXPECT_EQ(Value(prompts, "agreement"), 1.0) << policy;
    EXPECT_EQ(prompts["records"], 4) << policy;
    // f32 entries, and the share is of 16-bit ones.
    EXPECT_NEAR(prompts["payload_share"], 2.0, 1e-9) << policy;
    EXPECT_EQ(Value(Row(summary, "probes", policy, budget), "difference"), 0.0) << policy;
    const json& answers = Row(summary, "answers", policy, budget);
    EXPECT_EQ(Value(answers, "same"), 1.0) << policy;
    EXPECT_EQ(Value(answers, "rouge_l"), 1.0) << policy;
    // With the picture in the first turn and apart: two questions and a probe; and the story.
    EXPECT_EQ(answers["metrics"]["same"]["count"], 7) << policy;
  }
  EXPECT_EQ(Row(summary, "probes", "full", "1")["metrics"]["accuracy"]["count"], 4);
  const json& folded = Row(summary, "perplexity", "concertina", "0.25");
  EXPECT_NE(Value(folded, "ratio"), 1.0);
  EXPECT_LE(folded["payload_share"], 0.5 + 1e-9);
  EXPECT_GT(folded["payload_share"], 0.4);
  for (const char* file :
       {"summary.csv", "plots/perplexity-ratio.svg", "plots/perplexity-ratio-copy.svg",
        "plots/probes-accuracy.svg", "plots/answers-rouge_l.svg"}) {
    EXPECT_GT(ReadWholeFile(Path(absl::StrCat("out/", file))).size(), 100u) << file;
  }
  EXPECT_EQ(json::parse(ReadWholeFile(Path("out/summary.json"))), summary);
  EXPECT_EQ(server().Gauge("sessions_active", 0), 0);
}

TEST_F(EvalOnAServer, APolicyThatIsNotServedIsBadUse) {
  const CommandResult run = RunCli(
      server(), {"eval", Path("prompts.json"), "--policies", "h2o,h3o", "--out", Path("out")});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.errors, ::testing::HasSubstr("no policy \"h3o\""));
  EXPECT_FALSE(std::filesystem::exists(Path("out")));
}

TEST_F(EvalOnAServer, SaysTheSameAsScore) {
  const json summary = Eval(Arguments("out"));
  const CommandResult score =
      RunCli(server(), {"score", "--prompts", Path("prompts.json"), "--policy", "concertina",
                        "--budget", "0.25", "--measure-full", "--json"});
  ASSERT_EQ(score.exit_code, 0) << score.errors;
  const json replay = json::parse(score.output, nullptr, false);
  const json& row = Row(summary, "perplexity", "concertina", "0.25");
  EXPECT_NEAR(Value(row, "ratio"), replay["all"]["ratio"], 1e-9);
  EXPECT_NEAR(Value(row, "ppl"), replay["all"]["ppl"], 1e-6 * replay["all"]["ppl"].get<double>());
  EXPECT_NEAR(Value(row, "agreement"), replay["all"]["agreement"], 1e-9);
}

TEST_F(EvalOnAServer, AnInterruptedRunEndsWithTheSameSummary) {
  const json whole = Eval(Arguments("whole"));
  // What an interrupt leaves: some whole lines, and one that was being written.
  const std::string results = ReadWholeFile(Path("whole/results.jsonl"));
  size_t cut = 0;
  for (int line = 0; line < 9; ++line) cut = results.find('\n', cut) + 1;
  std::filesystem::create_directories(Path("cut"));
  Write("cut/results.jsonl", results.substr(0, cut + 50));
  const json again = Eval(Arguments("cut"));
  EXPECT_EQ(again["rows"], whole["rows"]);
  // Measured anew from there, not before.
  const std::string resumed = ReadWholeFile(Path("cut/results.jsonl"));
  EXPECT_EQ(resumed.substr(0, cut), results.substr(0, cut));
  EXPECT_EQ(std::count(resumed.begin(), resumed.end(), '\n'),
            std::count(results.begin(), results.end(), '\n'));
  // And once more: nothing is missing.
  EXPECT_EQ(Eval(Arguments("cut"))["rows"], whole["rows"]);
  EXPECT_EQ(ReadWholeFile(Path("cut/results.jsonl")), resumed);
}

}  // namespace
}  // namespace concertina::testing
