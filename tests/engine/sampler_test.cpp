#include "server/engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/engine/session_id.h"
#include "server/engine/stop_matcher.h"

namespace concertina {
namespace {

Sampler::Choice Choose(Sampler& sampler, const std::vector<float>& logits,
                       bool wants_logprob = false) {
  static SamplerScratch scratch;
  return sampler.Choose(logits, wants_logprob, &scratch);
}

TEST(Sampler, GreedyTakesTheLowestOfEquals) {
  Sampler sampler({});
  const std::vector<float> logits = {1, 3, 3, 2};
  const Sampler::Choice choice = Choose(sampler, logits, /*wants_logprob=*/true);
  EXPECT_EQ(choice.token, 1);
  const double sum = std::exp(1.0) + 2 * std::exp(3.0) + std::exp(2.0);
  EXPECT_NEAR(choice.logprob, 3 - std::log(sum), 1e-6);
}

// The rules word for word: every token is sorted, every sum is taken in that order, in f64.
class PlainSampler {
 public:
  explicit PlainSampler(const SamplingParams& params) : params_(params), random_(params.seed) {}

  void Observe(int32_t token) { seen_.insert(token); }

  // The choice, or -1 where a relative change of 1e-6 in any sum or weight would make it another.
  int32_t Choose(const std::vector<float>& logits) {
    const double chance = static_cast<double>(random_() >> 11) * 0x1.0p-53;
    const int32_t choice = Draw(logits, chance, 1);
    for (const double factor : {1 - 1e-6, 1 + 1e-6}) {
      if (Draw(logits, chance, factor) != choice || Draw(logits, chance * factor, 1) != choice) {
        return -1;
      }
    }
    return choice;
  }

 private:
  using Token = std::pair<float, int32_t>;  // minus its logit, and its id

  double Weight(const Token& token) const { return std::exp(double{top_} - double{token.first}); }

  int32_t Draw(const std::vector<float>& logits, double chance, double factor) {
    std::vector<Token> tokens;
    for (int32_t i = 0; i < static_cast<int32_t>(logits.size()); ++i) {
      float logit = logits[static_cast<size_t>(i)];
      const float penalty = params_.repetition_penalty;
      if (seen_.contains(i)) logit = logit > 0 ? logit / penalty : logit * penalty;
      tokens.emplace_back(-(logit / params_.temperature), i);
    }
    std::sort(tokens.begin(), tokens.end());
    top_ = tokens[0].first;
    if (params_.top_k > 0) tokens.resize(std::min<size_t>(tokens.size(), params_.top_k));
    double total = 0;
    for (const Token& token : tokens) total += Weight(token);
    double mass = 0;
    size_t kept = 0;
    for (; kept < tokens.size(); ++kept) {
      const double weight = Weight(tokens[kept]);
      const bool enough = params_.top_p < 1 && mass >= params_.top_p * total * factor;
      if (kept > 0 && (weight * factor < params_.min_p || enough)) break;
      mass += weight;
    }
    double left = chance * mass;
    for (size_t i = 0; i < kept; ++i) {
      left -= Weight(tokens[i]);
      if (left < 0) return tokens[i].second;
    }
    return tokens[kept - 1].second;
  }

  SamplingParams params_;
  std::mt19937_64 random_;
  std::set<int32_t> seen_;
  float top_ = 0;
};

// Rows like a language model's: few large logits, many ties.
std::vector<float> RandomLogits(std::mt19937_64& random, size_t count) {
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(count);
  for (float& logit : logits) logit = std::round(normal(random) * 64) / 64;
  if (count > 10) logits[random() % count] = 14;
  return logits;
}

std::vector<SamplingParams> KindsOfSampling() {
  return {
      {.temperature = 1},
      {.temperature = 0.7f, .top_p = 0.9f},
      {.temperature = 1.5f, .top_p = 0.999f},
      {.temperature = 2, .top_k = 40},
      {.temperature = 1, .top_p = 0.8f, .top_k = 3000, .min_p = 0.001f},
      {.temperature = 0.9f, .min_p = 0.05f},
      {.temperature = 1, .top_p = 0.95f, .min_p = 0.01f, .repetition_penalty = 1.3f},
      {.temperature = 0.01f, .top_p = 0.5f},
      {.temperature = 20},
      {.temperature = 1, .top_p = 1e-6f},
      {.temperature = 1, .top_k = 1},
  };
}

// Both samplers choose from the same rows, one after another.
class SideBySide {
 public:
  explicit SideBySide(const SamplingParams& params) : sampler_(params), plain_(params) {}

  void Choose(const std::vector<float>& logits) {
    const int32_t wanted = plain_.Choose(logits);
    const int32_t token = concertina::Choose(sampler_, logits).token;
    plain_.Observe(token);
    ++all_;
    if (wanted < 0) return;
    ++judged_;
    EXPECT_EQ(token, wanted) << "draw " << all_;
  }

  double judged() const { return static_cast<double>(judged_) / all_; }

 private:
  Sampler sampler_;
  PlainSampler plain_;
  int all_ = 0, judged_ = 0;
};

// `choose_all` lets both samplers of every kind choose from its rows; of the draws more than this
// share must be judged.
void CompareEveryKind(uint64_t seed, double judged,
                      const std::function<void(SideBySide&)>& choose_all) {
  for (SamplingParams params : KindsOfSampling()) {
    params.seed = seed++;
    SCOPED_TRACE(params.seed);
    SideBySide samplers(params);
    choose_all(samplers);
    EXPECT_GT(samplers.judged(), judged);
  }
}

TEST(Sampler, ChoosesAsAFullSortWould) {
  std::mt19937_64 random(5);
  CompareEveryKind(100, 0.9, [&](SideBySide& samplers) {
    for (const size_t vocab : {1, 2, 63, 64, 65, 1000, 5003}) {
      for (int i = 0; i < 30; ++i) samplers.Choose(RandomLogits(random, vocab));
    }
  });
}

// Rows that leave thousands of tokens to choose from.
std::vector<float> FlatLogits(std::mt19937_64& random, int kind) {
  std::vector<float> logits(6001);
  std::normal_distribution<float> normal(0, 1);
  for (float& logit : logits) logit = normal(random);
  switch (kind) {
    case 0:  // all in a few bins, but for one
      for (float& logit : logits) logit *= 1e-3f;
      logits[17] = -9;
      break;
    case 1:
      logits.assign(logits.size(), -2.5f);
      break;
    case 2:  // two values
      for (float& logit : logits) logit = logit > 1 ? 4.0f : 0.5f;
      break;
    case 3:  // some left out
      for (float& logit : logits) {
        if (logit > 0.5f) logit = -std::numeric_limits<float>::infinity();
      }
      break;
    default:
      break;
  }
  return logits;
}

TEST(Sampler, ChoosesFromFlatRowsAsAFullSortWould) {
  std::mt19937_64 random(6);
  CompareEveryKind(200, 0.8, [&](SideBySide& samplers) {
    for (int kind = 0; kind < 5; ++kind) {
      for (int i = 0; i < 10; ++i) samplers.Choose(FlatLogits(random, kind));
    }
  });
}

TEST(Sampler, NotANumberIsNeverChosen) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> logits = {nan, 1, nan, 2, nan};
  for (const float temperature : {0.0f, 0.1f}) {
    Sampler sampler({.temperature = temperature, .top_k = 1, .seed = 3});
    EXPECT_EQ(Choose(sampler, logits).token, 3);
  }
  Sampler sampler({.temperature = 1, .seed = 3});
  EXPECT_EQ(Choose(sampler, std::vector<float>(100, nan)).token, 0);
}

std::map<int32_t, int> Draws(SamplingParams params, const std::vector<float>& logits) {
  params.seed = 42;
  Sampler sampler(params);
  std::map<int32_t, int> counts;
  for (int i = 0; i < 4000; ++i) ++counts[Choose(sampler, logits, /*wants_logprob=*/true).token];
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
  EXPECT_EQ(Choose(positive, {3, 2}).token, 1);
  Sampler negative(params);
  negative.Observe(std::vector<int32_t>{0});
  EXPECT_EQ(Choose(negative, {-1, -1.5f}).token, 1);
}

// What one push lets out.
std::string Pushed(StopMatcher& matcher, std::string_view text) {
  std::string out;
  matcher.Push(text, &out);
  return out;
}

std::string Flushed(StopMatcher& matcher) {
  std::string out;
  matcher.Flush(&out);
  return out;
}

TEST(StopMatcher, HoldsBackOnlyWhatMayMatch) {
  StopMatcher matcher({"END", "\n\n"});
  EXPECT_EQ(Pushed(matcher, "abE"), "ab");
  EXPECT_EQ(Pushed(matcher, "N"), "");
  EXPECT_EQ(Pushed(matcher, "x\n"), "ENx");
  EXPECT_EQ(Pushed(matcher, "\nrest"), "");
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(Pushed(matcher, "more"), "");
  EXPECT_EQ(Flushed(matcher), "");
}

TEST(StopMatcher, FlushGivesTheHeldText) {
  StopMatcher matcher({"END"});
  EXPECT_EQ(Pushed(matcher, "the EN"), "the ");
  EXPECT_EQ(Flushed(matcher), "EN");
}

TEST(StopMatcher, WithoutStopsLetsEverythingOut) {
  StopMatcher matcher({});
  EXPECT_EQ(Pushed(matcher, "END"), "END");
  EXPECT_FALSE(matcher.stopped());
  EXPECT_EQ(Flushed(matcher), "");
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
