// The canary with a model that does repeat its secret: what would be heard of another's cache could
// be heard here.
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/campaigns/campaign.h"
#include "tests/campaigns/canary.h"
#include "tests/integration/server_process.h"

namespace concertina::testing {
namespace {

constexpr int kThreads = 3;
constexpr int32_t kTokens = 10;
// Of what the caches take together, a third; and enough for the largest of them.
const char* const kPool = IsFullSize() ? "16MiB" : "7MiB";

// Words that do not come up by themselves when somebody asks for a secret word.
const std::vector<std::string> kSecrets = {"copper", "harbor", "maple",  "tiger",
                                           "violin", "pepper", "rocket", "blanket",
                                           "candle", "lemon",  "anchor", "garden"};

std::vector<CanaryConversation> MakeConversations(int count, int turns) {
  std::vector<CanaryConversation> conversations;
  for (int i = 0; i < count; ++i) {
    CanaryConversation canary;
    canary.secret = kSecrets[static_cast<size_t>(i)];
    canary.open.budget.emplace().set_ratio(0.5 + 0.25 * (i % 3));
    for (int turn = 0; turn < turns; ++turn) {
      canary.questions.push_back(turn % 2 == 0 ? "The secret word is " + canary.secret + "."
                                               : "What is the secret word?");
      canary.max_tokens.push_back(kTokens);
    }
    conversations.push_back(std::move(canary));
  }
  return conversations;
}

std::vector<std::string> FlagsWithPool(const std::string& bytes) {
  return {"--weights", "f32", "--pool-bytes", bytes};
}

TEST(Recall, TheModelRepeatsItsSecretAndNoOther) {
  const auto conversations = MakeConversations(Sized(3, 12), Sized(4, 10));
  std::vector<CanaryAnswers> alone;
  {
    const auto roomy = ServerProcess::Start(FlagsWithPool("1GiB"));
    ASSERT_TRUE(roomy.ok()) << roomy.status();
    alone = HoldAlone(*(*roomy)->Connect(), conversations);
    ASSERT_FALSE(HasFailure());
  }
  const auto tight = ServerProcess::Start(FlagsWithPool(kPool));
  ASSERT_TRUE(tight.ok()) << tight.status();
  const auto client = (*tight)->Connect();
  const auto together = HoldTogether(*client, conversations, kThreads);
  const CanaryFigures figures = CheckAnswers(conversations, alone, together);
  const double rebuilds = (*tight)->Metric("session_rebuilds_total");
  EXPECT_GT(rebuilds, 0);
  EXPECT_GE(figures.repeats, figures.turns / 2);
  PrintFigures("recall", absl::StrCat(conversations.size(), " conversations, ", figures.turns,
                                      " turns, own secret in ", figures.repeats, ", ", rebuilds,
                                      " rebuilds, no foreign secret"));
}

}  // namespace
}  // namespace concertina::testing
