// How much a folded cache costs in perplexity, through `concertina score` and a real server. The
// prompts and the full cache's figures are made by tools/quality/make_prompts.py.
#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "tests/integration/server_process.h"

namespace concertina::testing {
namespace {

using nlohmann::json;

constexpr char kPrompts[] = CONCERTINA_SOURCE_DIR "/tests/integration/data/prompts.json";
constexpr double kSlack = 1.03;

class QualityTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto server = ServerProcess::Start(BundledF32());
    ASSERT_TRUE(server.ok()) << server.status();
    shared = *std::move(server);
  }
  static void TearDownTestSuite() { shared.reset(); }
  void SetUp() override { ASSERT_NE(shared, nullptr); }

  // The report of `concertina score`; null on an error.
  static json Score(const std::string& policy, const std::string& budget,
                    std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"score", "--prompts", kPrompts, "--policy",
                                          policy,  "--budget",  budget,   "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const CommandResult result = RunCli(server(), arguments);
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    return json::parse(result.output, nullptr, false);
  }

  static ServerProcess& server() { return *shared; }

 private:
  static std::unique_ptr<ServerProcess> shared;
};

std::unique_ptr<ServerProcess> QualityTest::shared;

TEST_F(QualityTest, TheFullCacheIsTheModelItself) {
  const json report = Score("full", "1");
  ASSERT_TRUE(report.is_object());
  ASSERT_GE(report["prompts"].size(), 6u);
  for (const json& prompt : report["prompts"]) {
    EXPECT_NEAR(prompt["nll"], prompt["full_nll"], 0.01) << prompt;
    EXPECT_EQ(prompt["agreement"], 1.0) << prompt;
  }
  EXPECT_NEAR(report["all"]["ratio"], 1.0, 0.01);
}

struct Bound {
  const char* policy;
  const char* budget;
  double measured;  // ratio to the full cache over the prompts of the file
};

// `concertina score --prompts tests/integration/data/prompts.json --policy P --budget B
// [--pure-sink]` with --weights f32.
constexpr Bound kConcertina[] = {
    {"concertina", "0.1", 4.7695}, {"concertina", "0.2", 3.3401}, {"concertina", "0.5", 1.4035}};
constexpr Bound kElastic[] = {{"elastic", "0.2", 5.7771}, {"elastic", "0.5", 2.5996}};

TEST_F(QualityTest, ConcertinaKeepsItsPerplexity) {
  double agreement = 0, ratio = std::numeric_limits<double>::infinity();
  for (const Bound& bound : kConcertina) {
    const json report = Score(bound.policy, bound.budget);
    ASSERT_TRUE(report.is_object());
    EXPECT_LE(report["all"]["ratio"], kSlack * bound.measured) << bound.budget;
    // More cache is never worse.
    EXPECT_LT(report["all"]["ratio"], ratio) << bound.budget;
    EXPECT_GT(report["all"]["agreement"], agreement) << bound.budget;
    ratio = report["all"]["ratio"];
    agreement = report["all"]["agreement"];
  }
}

// The same with --entry-type int8. At 0.2 the bytes of a bf16 cache hold nearly twice the entries.
constexpr Bound kBytes[] = {{"full", "1", 0.9999}, {"concertina", "0.2", 1.7865}};

TEST_F(QualityTest, EntriesOfBytesCostLessThanTheyGain) {
  const std::vector<std::string> int8 = {"--entry-type", "int8"};
  const json whole = Score(kBytes[0].policy, kBytes[0].budget, int8);
  ASSERT_TRUE(whole.is_object());
  EXPECT_NEAR(whole["all"]["ratio"], kBytes[0].measured, 0.01);
  EXPECT_GE(whole["all"]["agreement"], 0.99);
  const json folded = Score(kBytes[1].policy, kBytes[1].budget, int8);
  ASSERT_TRUE(folded.is_object());
  EXPECT_LE(folded["all"]["ratio"], kSlack * kBytes[1].measured);
  EXPECT_LT(kSlack * folded["all"]["ratio"].get<double>(), kConcertina[1].measured);
}

// The same with --entry-type packed: a fifth of the bytes is nearly as good as all of them.
constexpr Bound kPacked[] = {{"concertina", "0.1", 1.472}, {"concertina", "0.2", 1.067}};

TEST_F(QualityTest, PackedEntriesCostLeast) {
  for (const Bound& bound : kPacked) {
    const json report = Score(bound.policy, bound.budget, {"--entry-type", "packed"});
    ASSERT_TRUE(report.is_object());
    EXPECT_LE(report["all"]["ratio"], kSlack * bound.measured) << bound.budget;
  }
}

TEST_F(QualityTest, ElasticWithAPureSinkIsThePapersMethod) {
  for (const Bound& bound : kElastic) {
    const json report = Score(bound.policy, bound.budget, {"--pure-sink"});
    ASSERT_TRUE(report.is_object());
    EXPECT_LE(report["all"]["ratio"], kSlack * bound.measured) << bound.budget;
    // Far below, and it would not be the paper's method any more.
    EXPECT_GE(report["all"]["ratio"], bound.measured / kSlack) << bound.budget;
  }
}

constexpr char kStory[] =
    "The harbour of Vell has three piers. On the first one, red boats land with mackerel before "
    "six "
    "in the morning; on the second, the ferry to Orm leaves at a quarter past nine and comes back "
    "at "
    "noon; the third has been closed since the storm of 1987, when a crane fell into the water. "
    "Anna "
    "sells coffee between the first and the second pier, from a blue cart that was her mother's. "
    "She "
    "knows every captain by name, and most of them pay on Fridays. When does the ferry leave, and "
    "what does Anna sell?";

// Completed.quality of one question, every token of whose end is probed.
json Probe(ServerProcess& server, const std::string& policy, const std::string& budget,
           const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments = {
      "ask",      "--json", "--max-tokens",   "2", "--policy", policy,
      "--budget", budget,   "--probe-tokens", "64"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  arguments.emplace_back(kStory);
  const CommandResult result = RunCli(server, arguments);
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  return json::parse(result.output, nullptr, false).value("quality", json::object());
}

TEST_F(QualityTest, AProbeTellsPoliciesApart) {
  const json full = Probe(server(), "full", "1");
  EXPECT_EQ(full["probe"]["tokens"], 64) << full;
  EXPECT_EQ(full["probe"]["agreement"], 1.0) << full;
  EXPECT_EQ(full["probe"]["kl_divergence"], 0.0) << full;
  const json kept = Probe(server(), "concertina", "0.5"), drawn = Probe(server(), "random", "0.5");
  EXPECT_GT(kept["probe"]["agreement"], drawn["probe"]["agreement"]) << kept << drawn;
  EXPECT_LT(kept["probe"]["kl_divergence"], drawn["probe"]["kl_divergence"]) << kept << drawn;
  EXPECT_LT(kept["probe"]["agreement"], 1.0) << kept;
}

TEST_F(QualityTest, AFloorBuysWhatItTakes) {
  const json loose = Probe(server(), "concertina", "0.1");
  ASSERT_LT(loose["probe"]["agreement"], 0.9) << loose;
  const json firm = Probe(server(), "concertina", "0.1", {"--min-quality", "0.9"});
  EXPECT_GE(firm["probe"]["agreement"], 0.9) << firm;
  EXPECT_TRUE(firm["raised_for_quality"]) << firm;
  EXPECT_FALSE(firm["below_min_quality"]) << firm;
  EXPECT_GT(firm["budget_entries"], loose["budget_entries"]) << firm;
}

}  // namespace
}  // namespace concertina::testing
