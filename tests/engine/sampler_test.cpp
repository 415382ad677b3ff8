#include "server/engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "server/engine/session_id.h"
#include "server/engine/stop_matcher.h"

namespace concertina {
namespace {

TEST(Sampler, GreedyTakesTheLowestOfEquals) {
  Sampler sampler({});
  const std::vector<float> logits = {1, 3, 3, 2};
  const Sampler::Choice choice = sampler.Choose(logits);
  EXPECT_EQ(choice.token, 1);
  const double sum = std::exp(1.0) + 2 * std::exp(3.0) + std::exp(2.0);
  EXPECT_NEAR(choice.logprob, 3 - std::log(sum), 1e-6);
}

std::map<int32_t, int> Draws(SamplingParams params, const std::vector<float>& logits) {
  params.seed = 42;
  Sampler sampler(params);
  std::map<int32_t, int> counts;
  for (int i = 0; i < 4000; ++i) ++counts[sampler.Choose(logits).token];
  return counts;
}

TEST(Sampler, FollowsTheDistribution) {
  const auto counts = Draws({.temperature = 1}, {std::log(0.7f), std::log(0.2f), std::log(0.1f)});
  EXPECT_NEAR(counts.at(0), 2800, 150);
  EXPECT_NEAR(counts.at(1), 800, 120);
  EXPECT_NEAR(counts.at(2), 400, 100);
}

TEST(Sampler, FiltersCutTheTail) {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.15f),
                                     std::log(0.05f)};
  EXPECT_EQ(Draws({.temperature = 1, .top_k = 2}, logits).size(), 2u);
  EXPECT_EQ(Draws({.temperature = 1, .top_p = 0.6f}, logits).size(), 2u);
  EXPECT_EQ(Draws({.temperature = 1, .top_p = 0.4f}, logits).size(), 1u);
  EXPECT_EQ(Draws({.temperature = 1, .min_p = 0.25f}, logits).size(), 3u);
}

TEST(Sampler, RepetitionPenaltyActsOnBothSigns) {
  SamplingParams params{.repetition_penalty = 2};
  Sampler positive(params);
  positive.Observe(std::vector<int32_t>{0});
  EXPECT_EQ(positive.Choose(std::vector<float>{3, 2}).token, 1);
  Sampler negative(params);
  negative.Observe(std::vector<int32_t>{0});
  EXPECT_EQ(negative.Choose(std::vector<float>{-1, -1.5f}).token, 1);
}

TEST(StopMatcher, HoldsBackOnlyWhatMayMatch) {
  StopMatcher matcher({"END", "\n\n"});
  EXPECT_EQ(matcher.Push("abE"), "ab");
  EXPECT_EQ(matcher.Push("N"), "");
  EXPECT_EQ(matcher.Push("x\n"), "ENx");
  EXPECT_EQ(matcher.Push("\nrest"), "");
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(matcher.Push("more"), "");
  EXPECT_EQ(matcher.Flush(), "");
}

TEST(StopMatcher, FlushGivesTheHeldText) {
  StopMatcher matcher({"END"});
  EXPECT_EQ(matcher.Push("the EN"), "the ");
  EXPECT_EQ(matcher.Flush(), "EN");
}

TEST(SessionId, IsAUuidVersion4) {
  EXPECT_TRUE(IsSessionId(NewSessionId()));
  EXPECT_NE(NewSessionId(), NewSessionId());
  EXPECT_TRUE(IsSessionId("0b5a5a06-3f7e-4a51-9c2e-0123456789ab"));
  EXPECT_FALSE(IsSessionId("0B5A5A06-3F7E-4A51-9C2E-0123456789AB"));
  EXPECT_FALSE(IsSessionId("0b5a5a06-3f7e-1a51-9c2e-0123456789ab"));
  EXPECT_FALSE(IsSessionId("0b5a5a06-3f7e-4a51-cc2e-0123456789ab"));
  EXPECT_FALSE(IsSessionId("../../../etc/passwd"));
  EXPECT_FALSE(IsSessionId(""));
}

}  // namespace
}  // namespace concertina
