// Conversations with a secret each, in random order on a pool that cannot hold all their caches:
// nobody hears of another's secret, and every answer is that of the conversation held alone.
#include "tests/campaigns/canary.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/campaigns/campaign.h"
#include "tests/integration/server_process.h"

namespace concertina::testing {
namespace {

constexpr uint32_t kStream = 65;
constexpr int kThreads = 6;
// A tenth of what the caches of the full size take together.
constexpr char kPool[] = "2MiB";

client::OpenOptions DrawCache(std::mt19937& random) {
  client::OpenOptions open;
  const int kind = Draw(random, 0, 3);
  open.policy.emplace().set_name(kind == 3 ? "elastic" : "concertina");
  open.policy->set_on_context_end(v1::ON_CONTEXT_END_REBASE);
  if (kind == 0) {
    open.budget.emplace().set_tokens(Draw(random, 8, 64));
  } else if (kind == 1) {
    open.budget.emplace().set_bytes(Draw(random, 100'000, 400'000));
  } else {
    open.budget.emplace().set_ratio(0.1 * Draw(random, 1, 4));
  }
  return open;
}

std::vector<CanaryConversation> DrawConversations(int count, int turns) {
  std::mt19937 random = RandomStream(kStream);
  std::vector<CanaryConversation> conversations;
  for (int i = 0; i < count; ++i) {
    CanaryConversation canary;
    canary.secret = absl::StrFormat("%08x-%d", random(), i);
    canary.open = DrawCache(random);
    canary.ignore_eos = true;
    for (int turn = 0; turn < turns; ++turn) {
      const bool tells = turn == 0 || Draw(random, 0, 3) == 0;
      canary.questions.push_back(tells ? "My code is " + canary.secret + "." : "What is my code?");
      canary.max_tokens.push_back(Draw(random, 1, 6));
    }
    conversations.push_back(std::move(canary));
  }
  return conversations;
}

TEST(Canary, NoSecretIsHeardElsewhere) {
  const auto conversations = DrawConversations(Sized(24, 64), Sized(16, 50));
  const auto roomy = ServerProcess::Start(TinyLlava("256MiB"));
  ASSERT_TRUE(roomy.ok()) << roomy.status();
  const auto alone = HoldAlone(*(*roomy)->Connect(), conversations);
  ASSERT_FALSE(HasFailure());
  EXPECT_EQ((*roomy)->Metric("session_rebuilds_total"), 0);

  const auto tight = ServerProcess::Start(TinyLlava(kPool));
  ASSERT_TRUE(tight.ok()) << tight.status();
  const auto start = std::chrono::steady_clock::now();
  const auto client = (*tight)->Connect();
  const auto together = HoldTogether(*client, conversations, kThreads);
  const double seconds = MsSince(start) / 1000;
  const CanaryFigures figures = CheckAnswers(conversations, alone, together);
  const double evictions = (*tight)->Metric("session_evictions_total", "reason=\"pool\"");
  const double rebuilds = (*tight)->Metric("session_rebuilds_total");
  EXPECT_GT(evictions, figures.turns / 20);
  EXPECT_GT(rebuilds, figures.turns / 20);
  EXPECT_EQ((*tight)->Gauge("kv_pool_used_bytes", 0), 0);
  PrintFigures("canary", absl::StrCat(conversations.size(), " conversations, ", figures.turns,
                                      " turns in ", seconds, " s, ", evictions, " evictions, ",
                                      rebuilds, " rebuilds, no foreign secret"));
}

}  // namespace
}  // namespace concertina::testing
