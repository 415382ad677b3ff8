// The scenarios of concertina_engine_bench on a model that loads in milliseconds: what they report,
// not how fast it is.
#include "bench/engine/scenarios.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "bench/engine/scenario.h"
#include "tests/engine/engine_fixture.h"

namespace concertina::bench {
namespace {

std::string TextOf(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

class Scenarios : public ::testing::Test {
 protected:
  void SetUp() override {
    EngineOptions options = testing::TestEngine::DefaultOptions();
    auto driver =
        Driver::Start(options, testing::TinyModel(), TextOf(CONCERTINA_SOURCE_DIR "/LICENSE"));
    ASSERT_TRUE(driver.ok()) << driver.status();
    driver_ = *std::move(driver);
  }

  nlohmann::json Run(const std::string& text) {
    const auto scenario = Scenario::Parse(text);
    EXPECT_TRUE(scenario.ok()) << scenario.status();
    auto result = RunScenario(*driver_, *scenario);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? (*result)["runs"] : nlohmann::json::array();
  }

  std::unique_ptr<Driver> driver_;
};

TEST(Scenario, Parses) {
  const auto scenario = Scenario::Parse("decode:depth=900,policy=full,ratio=0.2");
  ASSERT_TRUE(scenario.ok());
  EXPECT_EQ(scenario->name(), "decode");
  EXPECT_EQ(scenario->Int("depth", 1), 900);
  EXPECT_EQ(scenario->Int("sessions", 7), 7);
  EXPECT_EQ(scenario->Real("ratio", 1), 0.2);
  EXPECT_EQ(scenario->Text("policy", ""), "full");
  EXPECT_TRUE(Scenario::Parse("memory").ok());
  for (const char* wrong : {"", ":a=1", "a:", "a:b", "a:b=", "a:=1", "a:b=1,b=2", "a:b=1,"}) {
    EXPECT_FALSE(Scenario::Parse(wrong).ok()) << wrong;
  }
}

TEST_F(Scenarios, PromptsHaveTheLengthAskedFor) {
  const auto runs = Run("prefill:tokens=60,repeat=2");
  ASSERT_EQ(runs.size(), 2);
  for (const auto& run : runs) {
    EXPECT_NEAR(run["prompt_tokens"].get<int>(), 60, 2);
    EXPECT_GT(run["first_token_s"].get<double>(), 0);
    EXPECT_GT(run["tokens_per_s"].get<double>(), 0);
  }
}

TEST_F(Scenarios, FoldedSessionsHoldLess) {
  const auto full = Run("decode:depth=60,sessions=2,tokens=6,policy=full");
  const auto folded = Run("decode:depth=60,sessions=2,tokens=6,ratio=0.2");
  ASSERT_EQ(full.size(), 1);
  ASSERT_EQ(folded.size(), 1);
  EXPECT_EQ(full[0]["tokens_seen"], folded[0]["tokens_seen"]);
  EXPECT_LT(folded[0]["payload_bytes"].get<int64_t>(), full[0]["payload_bytes"].get<int64_t>() / 3);
}

TEST_F(Scenarios, OneSessionIsAlwaysTogether) {
  const auto runs = Run("decode:depth=30,tokens=8,repeat=2");
  ASSERT_EQ(runs.size(), 2);
  EXPECT_GT(runs[1]["tokens_per_s"].get<double>(), 0);
  EXPECT_NEAR(runs[1]["ms_per_step"].get<double>() * runs[1]["tokens_per_s"].get<double>(), 1e3, 1);
}

TEST_F(Scenarios, ProtocolAndCapacity) {
  const auto protocol = Run("protocol:sessions=3,prompt=40,tokens=5,repeat=2");
  ASSERT_EQ(protocol.size(), 2);
  EXPECT_GT(protocol[0]["whole_s"].get<double>(), protocol[0]["prefill_s"].get<double>());
  const auto capacity = Run("capacity:depth=80,sessions=2,tokens=4");
  ASSERT_EQ(capacity.size(), 1);
  EXPECT_GT(capacity[0]["folded_sessions"].get<int64_t>(),
            capacity[0]["full_sessions"].get<int64_t>());
}

TEST_F(Scenarios, LongConversationsAreMeasuredBesideShortOnes) {
  const auto runs = Run("turns:turns=9,tokens=30,answer=2,budget=16,measured=4,repeat=2");
  ASSERT_EQ(runs.size(), 2);
  EXPECT_EQ(runs[0]["late"]["turn"], 9);
  EXPECT_EQ(runs[0]["early"]["turn"], 5);
  EXPECT_EQ(runs[1]["late"]["turn"], 10);
  EXPECT_EQ(runs[0]["late"]["live_entries"], runs[0]["early"]["live_entries"]);
}

TEST_F(Scenarios, MemoryNamesItsParts) {
  const auto runs = Run("memory:sessions=2,depth=60,tokens=3");
  ASSERT_EQ(runs.size(), 1);
  EXPECT_GE(runs[0]["peak_rss_bytes"].get<int64_t>(), runs[0]["loaded_rss_bytes"].get<int64_t>());
  EXPECT_GT(runs[0]["pool_used_peak_bytes"].get<int64_t>(), 0);
  EXPECT_GT(runs[0]["weight_bytes"].get<int64_t>(), 0);
}

TEST_F(Scenarios, NamesWhatDoesNotExist) {
  EXPECT_EQ(RunScenario(*driver_, *Scenario::Parse("nothing")).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(RunScenario(*driver_, *Scenario::Parse("decode:policy=nothing")).ok());
}

}  // namespace
}  // namespace concertina::bench
