// How many more idle conversations fit: memory per session at budget 0.2 against the full cache.
#include <gtest/gtest.h>

#include <string>

#include "tests/integration/server_process.h"

namespace concertina::testing {
namespace {

constexpr int kPromptTokens = 900;

// State of an idle session after one turn with a prompt of about 900 tokens.
absl::StatusOr<v1::CacheState> IdleCache(client::Client& client, const std::string& policy,
                                         double ratio, const std::string& text) {
  client::OpenOptions open;
  open.policy.emplace().set_name(policy);
  open.policy->set_entry_type(v1::ENTRY_TYPE_BF16);
  open.budget.emplace().set_ratio(ratio);
  auto conversation = client.Open(open);
  if (!conversation.ok()) return conversation.status();
  client::AskOptions options;
  options.max_tokens = 16;
  options.ignore_eos = true;
  const auto answer = conversation->Ask({client::Text(text)}, options);
  if (!answer.ok()) return answer.status();
  const auto session = conversation->Info();
  if (!session.ok()) return session.status();
  return session->cache();
}

TEST(Capacity, AFifthOfTheBudgetTakesAFifthOfTheMemory) {
  const auto server = ServerProcess::Start(BundledF32());
  ASSERT_TRUE(server.ok()) << server.status();
  const auto client = (*server)->Connect();
  const std::string text = TextOfTokens(*client, kPromptTokens);
  ASSERT_EQ(Tokenize(*client, text).size(), kPromptTokens);
  const auto full = IdleCache(*client, "full", 1.0, text);
  ASSERT_TRUE(full.ok()) << full.status();
  const auto folded = IdleCache(*client, "concertina", 0.2, text);
  ASSERT_TRUE(folded.ok()) << folded.status();
  EXPECT_EQ(full->tokens_seen(), folded->tokens_seen());
  EXPECT_GE(full->tokens_seen(), kPromptTokens + 16);
  const double fewer =
      static_cast<double>(full->used_bytes()) / static_cast<double>(folded->used_bytes());
  EXPECT_GE(fewer, 4.7) << full->used_bytes() << " against " << folded->used_bytes();
  EXPECT_EQ(folded->full_bytes(), full->full_bytes());
  RecordProperty("times_fewer_bytes", std::to_string(fewer));
}

}  // namespace
}  // namespace concertina::testing
