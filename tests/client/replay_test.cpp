#include "client/cli/replay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "absl/strings/str_cat.h"

namespace concertina::cli {
namespace {

using ::testing::HasSubstr;

constexpr char kFile[] = R"([
  {"task": "prose", "seed": 1, "i": 4, "src": "x", "prompt": [1, 2], "ans": [3, 4, 5], "full_nll": 0.5},
  {"task": "copy", "i": 0, "prompt": [1], "ans": [6, 7], "full_nll": null},
  {"task": "prose", "i": 5, "prompt": [2], "ans": null},
  {"task": "prose", "i": 6, "prompt": [9], "ans": [3, 4, 5]}
])";

v1::ScoreResponse Response(const std::vector<float>& logprobs, const std::vector<int>& argmax) {
  v1::ScoreResponse response;
  for (const float logprob : logprobs) response.add_logprobs(logprob);
  for (const int id : argmax) response.add_argmax_ids(id);
  return response;
}

// Log-probabilities of the first token are absurd: they must not count.
v1::ScoreResponse FakeScore(const v1::ScoreRequest& request) {
  const bool full = request.policy().name() == "full";
  switch (request.prompt().ids().ids(0) * 10 + request.prompt().ids().ids_size()) {
    case 12:
      return full ? Response({-90, -0.25F, -0.5F}, {1, 4, 5})
                  : Response({-70, -1.0F, -2.0F}, {2, 4, 6});
    case 11:
      return full ? Response({-90, -0.125F}, {1, 7}) : Response({-70, -0.375F}, {1, 7});
    default:
      return full ? Response({-90, -1.0F, -1.0F}, {1, 8, 9})
                  : Response({-70, -1.5F, -1.0F}, {1, 8, 9});
  }
}

TEST(ReplayTest, ComputesWhatTheProtocolSays) {
  const auto file = ParseReplayFile(kFile);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->prompts.size(), 3);
  EXPECT_EQ(file->skipped, 1);
  std::vector<v1::ScoreRequest> requests;
  ReplayOptions options;
  options.policy.set_name("elastic");
  options.policy.set_pure_sink(true);
  options.policy.set_entry_type(v1::ENTRY_TYPE_F32);
  options.budget.set_ratio(0.2);
  options.fold = v1::SCORE_FOLD_DECODE;
  int told = 0;
  const auto scores = Replay(
      *file, options,
      [&](const v1::ScoreRequest& request) {
        requests.push_back(request);
        return FakeScore(request);
      },
      [&](const PromptScore&) { ++told; });
  ASSERT_TRUE(scores.ok()) << scores.status();
  EXPECT_EQ(told, 3);
  // prompt 4: own (1 + 2) / 2 = 1.5, file 0.5, measured 0.375, one of two places agrees.
  EXPECT_EQ(scores->prompts[0].index, 4);
  EXPECT_DOUBLE_EQ(scores->prompts[0].nll, 1.5);
  EXPECT_DOUBLE_EQ(scores->prompts[0].full_nll, 0.5);
  EXPECT_DOUBLE_EQ(scores->prompts[0].full_nll_measured, 0.375);
  EXPECT_DOUBLE_EQ(scores->prompts[0].agreement, 0.5);
  // copy 0: own 0.375; the file has no full NLL: measured 0.125.
  EXPECT_DOUBLE_EQ(scores->prompts[1].full_nll, 0.125);
  // prompt 6: own 1.25, measured 1.
  const TaskScore& prose = scores->tasks.at("prose");
  EXPECT_EQ(prose.prompts, 2);
  EXPECT_NEAR(prose.ppl, std::exp((1.5 + 1.25) / 2), 1e-9);
  EXPECT_NEAR(prose.ratio, std::exp((1.0 + 0.25) / 2), 1e-9);
  EXPECT_NEAR(prose.agreement, 0.75, 1e-9);
  EXPECT_NEAR(scores->all.ratio, std::exp((1.0 + 0.25 + 0.25) / 3), 1e-9);
  EXPECT_NEAR(scores->all.agreement, 2.5 / 3, 1e-9);
  // Every prompt twice: with everything kept in the same type, and as asked for.
  ASSERT_EQ(requests.size(), 6);
  EXPECT_EQ(requests[0].policy().name(), "full");
  EXPECT_EQ(requests[0].policy().entry_type(), v1::ENTRY_TYPE_F32);
  EXPECT_FALSE(requests[0].policy().pure_sink());
  EXPECT_TRUE(requests[1].policy().pure_sink());
  EXPECT_EQ(requests[1].budget().ratio(), 0.2);
  EXPECT_EQ(requests[1].fold(), v1::SCORE_FOLD_DECODE);
  EXPECT_EQ(requests[1].continuation().ids().ids_size(), 3);
}

TEST(ReplayTest, MeasuresTheFullCacheWhenAsked) {
  const auto file = ParseReplayFile(kFile);
  ReplayOptions options;
  options.policy.set_name("concertina");
  options.measure_full = true;
  const auto scores = Replay(*file, options, FakeScore, nullptr);
  EXPECT_DOUBLE_EQ(scores->prompts[0].full_nll, 0.375);
}

TEST(ReplayTest, TheFullCacheAgreesWithItselfAndIsMeasuredOnce) {
  const auto file = ParseReplayFile(kFile);
  ReplayOptions options;
  options.policy.set_name("full");
  int calls = 0;
  const auto scores = Replay(
      *file, options,
      [&](const v1::ScoreRequest& request) {
        ++calls;
        return FakeScore(request);
      },
      nullptr);
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(scores->all.agreement, 1.0);
  EXPECT_NEAR(scores->all.ratio, std::exp((0.375 - 0.5) / 3), 1e-9);
}

TEST(ReplayTest, AServerThatScoresTooFewTokensIsAnError) {
  const auto file = ParseReplayFile(kFile);
  const auto scores =
      Replay(*file, {}, [](const v1::ScoreRequest&) { return Response({-1}, {1}); }, nullptr);
  EXPECT_EQ(scores.status().code(), absl::StatusCode::kInternal);
}

TEST(ReplayTest, AnErrorOfTheServerEndsIt) {
  const auto file = ParseReplayFile(kFile);
  const auto scores = Replay(
      *file, {},
      [](const v1::ScoreRequest&) -> absl::StatusOr<v1::ScoreResponse> {
        return absl::InvalidArgumentError("no");
      },
      nullptr);
  EXPECT_EQ(scores.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ReplayFileTest, NamesTheOffendingPrompt) {
  const std::string good = R"({"task": "a", "prompt": [1], "ans": [1, 2]},)";
  for (const auto& [bad, why] : std::vector<std::pair<std::string, std::string>>{
           {"3", "object"},
           {R"({"prompt": [1], "ans": [1, 2]})", "task"},
           {R"({"task": "a", "ans": [1, 2]})", "prompt"},
           {R"({"task": "a", "prompt": [], "ans": [1, 2]})", "prompt"},
           {R"({"task": "a", "prompt": [1.5], "ans": [1, 2]})", "prompt"},
           {R"({"task": "a", "prompt": [-1], "ans": [1, 2]})", "prompt"},
           {R"({"task": "a", "prompt": [1], "ans": [99999999999, 2]})", "ans"},
           {R"({"task": "a", "prompt": [1], "ans": [1, 2], "full_nll": "x"})", "full_nll"},
           {R"({"task": "a", "i": "x", "prompt": [1], "ans": [1, 2]})", "i must"}}) {
    const auto file = ParseReplayFile(absl::StrCat("[", good, bad, "]"));
    ASSERT_FALSE(file.ok()) << bad;
    EXPECT_THAT(std::string(file.status().message()), HasSubstr("prompt 1: ")) << bad;
    EXPECT_THAT(std::string(file.status().message()), HasSubstr(why)) << bad;
  }
  EXPECT_FALSE(ParseReplayFile("{").ok());
  EXPECT_FALSE(ParseReplayFile("{}").ok());
  EXPECT_FALSE(ParseReplayFile("[]").ok());
  EXPECT_FALSE(ParseReplayFile(R"([{"task": "a", "prompt": [1], "ans": [1]}])").ok());
}

}  // namespace
}  // namespace concertina::cli
