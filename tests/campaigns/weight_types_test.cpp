// What types of weights other than f32 do to answers and to perplexity, through real servers.
#include <gtest/gtest.h>

#include <cmath>
#include <iterator>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"
#include "tests/campaigns/campaign.h"
#include "tests/integration/server_process.h"

namespace concertina::testing {
namespace {

using nlohmann::json;
using Ids = std::vector<int32_t>;

constexpr char kPrompts[] = CONCERTINA_SOURCE_DIR "/tests/integration/data/prompts.json";
constexpr char kQuestions[] = CONCERTINA_SOURCE_DIR "/tests/campaigns/data/questions.txt";
constexpr char kBefore[] =
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n<|im_start|>user\n";
constexpr char kAfter[] = "<|im_end|>\n<|im_start|>assistant\n";
constexpr int kTokens = 64;
constexpr int kQuestionsInShort = 8, kQuestionsInFull = 50;
constexpr double kAgreementMin = 0.95, kItselfMin = 0.99;
constexpr double kCostMax = 0.005;

struct Types {
  const char* name;
  std::vector<std::string> flags;
};

const std::vector<Types>& AllTypes() {
  static const std::vector<Types> kTypes = {
      {"bf16", {"--weights", "bf16"}}, {"stored", {"--weights", "stored"}}, {"default", {}}};
  return kTypes;
}

std::vector<std::string> Questions() {
  const int count = Sized(kQuestionsInShort, kQuestionsInFull);
  std::vector<std::string> questions;
  std::istringstream lines(ReadWholeFile(kQuestions));
  for (std::string line; std::ssize(questions) < count && std::getline(lines, line);) {
    questions.push_back(line);
  }
  EXPECT_EQ(std::ssize(questions), count);
  return questions;
}

v1::CachePolicy FullCache() {
  v1::CachePolicy policy;
  policy.set_name("full");
  return policy;
}

// The greedy answer's first tokens.
Ids Answer(client::Client& client, const std::string& question) {
  client::OpenOptions open;
  open.policy = FullCache();
  open.budget = v1::Budget();
  open.budget->set_ratio(1);
  auto conversation = client.Open(open);
  EXPECT_TRUE(conversation.ok()) << conversation.status();
  if (!conversation.ok()) return {};
  client::AskOptions options;
  options.max_tokens = kTokens;
  const auto answer = conversation->Ask({client::Text(question)}, options);
  EXPECT_TRUE(answer.ok()) << answer.status();
  return answer.ok() ? answer->token_ids : Ids();
}

// What a server would say next at each place of another's answer.
Ids NextTokens(client::Client& client, const std::string& question, const Ids& answer) {
  v1::ScoreRequest request;
  request.mutable_prompt()->set_text(kBefore + question + kAfter);
  request.set_allow_special(true);
  request.mutable_continuation()->mutable_ids()->mutable_ids()->Assign(answer.begin(),
                                                                       answer.end());
  *request.mutable_policy() = FullCache();
  request.mutable_budget()->set_ratio(1);
  const auto scores = client.Score(request);
  EXPECT_TRUE(scores.ok()) << scores.status();
  if (!scores.ok()) return {};
  return {scores->argmax_ids().begin(), scores->argmax_ids().end()};
}

// Counts places, and those with the same token; a missing one differs.
struct Agreement {
  int same = 0;
  int places = 0;

  void Add(const Ids& expected, const Ids& found) {
    for (size_t i = 0; i < expected.size(); ++i) {
      same += i < found.size() && found[i] == expected[i] ? 1 : 0;
      ++places;
    }
  }
  double share() const { return static_cast<double>(same) / places; }
};

std::unique_ptr<ServerProcess> Start(std::vector<std::string> flags) {
  auto server = ServerProcess::Start(std::move(flags));
  EXPECT_TRUE(server.ok()) << server.status();
  return server.ok() ? *std::move(server) : nullptr;
}

TEST(WeightTypesTest, AnswersFollowThoseOfF32) {
  const std::vector<std::string> questions = Questions();
  std::vector<Ids> expected;
  {
    const auto server = Start(BundledF32());
    ASSERT_NE(server, nullptr);
    const auto client = server->Connect();
    Agreement itself;
    for (const std::string& question : questions) {
      expected.push_back(Answer(*client, question));
      itself.Add(expected.back(), NextTokens(*client, question, expected.back()));
    }
    // Scoring sees the prompt that the conversation saw, but attends in another order of sums.
    ASSERT_GE(itself.share(), kItselfMin);
  }
  for (const Types& types : AllTypes()) {
    const auto server = Start(types.flags);
    ASSERT_NE(server, nullptr);
    const auto client = server->Connect();
    Agreement forced, free;
    for (size_t i = 0; i < questions.size(); ++i) {
      forced.Add(expected[i], NextTokens(*client, questions[i], expected[i]));
      free.Add(expected[i], Answer(*client, questions[i]));
    }
    PrintFigures("weight types",
                 absl::StrFormat("%s: %.4f of %d tokens given f32's answer, %.4f "
                                 "place by place on its own",
                                 types.name, forced.share(), forced.places, free.share()));
    EXPECT_GE(forced.share(), kAgreementMin) << types.name;
  }
}

// Perplexity with a full cache.
double Perplexity(const ServerProcess& server) {
  const CommandResult result = RunCli(server, {"score", "--prompts", kPrompts, "--policy", "full",
                                               "--budget", "1", "--measure-full", "--json"});
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  const json report = json::parse(result.output, nullptr, false);
  return report.is_object() ? report["all"]["ppl"].get<double>() : HUGE_VAL;
}

TEST(WeightTypesTest, TheDefaultCostsHardlyAnyPerplexity) {
  const auto f32 = Start(BundledF32());
  ASSERT_NE(f32, nullptr);
  const double base = Perplexity(*f32);
  for (const Types& types : AllTypes()) {
    const auto server = Start(types.flags);
    ASSERT_NE(server, nullptr);
    const double cost = Perplexity(*server) / base - 1;
    PrintFigures("weight types",
                 absl::StrFormat("%s: perplexity %+.3f %%", types.name, 100 * cost));
    EXPECT_LE(cost, kCostMax) << types.name;
  }
}

}  // namespace
}  // namespace concertina::testing
