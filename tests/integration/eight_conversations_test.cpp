// Eight people talk about pictures at once; in deterministic f32 nobody's answers change by it.
#include <gtest/gtest.h>

#include <array>
#include <string>
#include <thread>
#include <vector>

#include "tests/integration/server_process.h"

namespace concertina::testing {
namespace {

constexpr int kConversations = 8;
constexpr int kTurns = 3;

struct Script {
  std::string policy;
  double budget;
  int scene;
  std::array<std::string, kTurns> questions;
};

// Policies, budgets and questions differ, so that lengths differ from step to step.
std::vector<Script> Scripts() {
  const std::string describe = "Describe the image in detail.";
  return {
      {"concertina", 0.2, 0, {describe, "Where is the carrot?", "How many carrots are there?"}},
      {"concertina", 0.2, 1, {"What is in this picture?", describe, "Where is the fish?"}},
      {"concertina", 0.5, 2, {describe, "Where is the glove?", "How many helicopters are there?"}},
      {"concertina", 0.1, 3, {"Where is the tractor?", "What colour is the background?", describe}},
      {"elastic", 0.5, 0, {describe, "What colour is the circle?", "Is there a dog?"}},
      {"full", 1.0, 1, {describe, "How many umbrellas are in the image?", "Where are the fish?"}},
      {"elastic", 0.2, 2, {"What is at the bottom?", describe, "Where is the horse?"}},
      {"full", 1.0, 3, {describe, "Where is the tractor?", "How many turtles are there?"}},
  };
}

struct Talk {
  std::vector<std::string> texts;
  std::vector<std::vector<int32_t>> tokens;
  std::string error;

  bool operator==(const Talk&) const = default;
};

Talk Converse(client::Conversation& conversation, const Script& script) {
  Talk talk;
  client::AskOptions options;
  options.max_tokens = 48;
  for (int turn = 0; turn < kTurns; ++turn) {
    std::vector<v1::InputPart> parts;
    if (turn == 0) parts.push_back(client::ImageFile(ReadWholeFile(SceneImage(script.scene))));
    parts.push_back(client::Text(script.questions[turn]));
    const auto answer = conversation.Ask(parts, options);
    if (!answer.ok()) {
      talk.error = answer.status().ToString();
      return talk;
    }
    talk.texts.push_back(answer->text);
    talk.tokens.push_back(answer->token_ids);
  }
  return talk;
}

client::OpenOptions OpenFor(const Script& script) {
  client::OpenOptions open;
  open.policy.emplace().set_name(script.policy);
  open.budget.emplace().set_ratio(script.budget);
  return open;
}

int64_t SumOfUsedBytes(client::Client& client) {
  const auto sessions = client.ListSessions();
  int64_t sum = 0;
  if (!sessions.ok()) return -1;
  for (const v1::Session& session : *sessions) {
    const auto alone = client.GetSession(session.session_id());
    if (!alone.ok() || alone->cache().used_bytes() != session.cache().used_bytes()) return -2;
    sum += session.cache().used_bytes();
  }
  return sum;
}

TEST(EightConversations, GreedyAnswersEqualSoloRunsAndBytesAddUp) {
  const auto server = ServerProcess::Start(BundledF32());
  ASSERT_TRUE(server.ok()) << server.status();
  const auto client = (*server)->Connect();
  const auto model = client->GetModel();
  ASSERT_TRUE(model.ok()) << model.status();
  ASSERT_TRUE(model->deterministic());

  const std::vector<Script> scripts = Scripts();
  std::vector<Talk> alone(kConversations), together(kConversations);
  for (int i = 0; i < kConversations; ++i) {
    auto conversation = client->Open(OpenFor(scripts[i]));
    ASSERT_TRUE(conversation.ok()) << conversation.status();
    alone[i] = Converse(*conversation, scripts[i]);
    ASSERT_EQ(alone[i].error, "");
    // Merged caches may say nothing at all.
    for (const std::string& text : alone[i].texts) {
      EXPECT_TRUE(!text.empty() || scripts[i].policy == "elastic") << i;
    }
  }
  EXPECT_EQ((*server)->Gauge("kv_pool_used_bytes", 0), 0);

  std::vector<client::Conversation> conversations;
  for (const Script& script : scripts) {
    auto conversation = client->Open(OpenFor(script));
    ASSERT_TRUE(conversation.ok()) << conversation.status();
    conversations.push_back(*std::move(conversation));
  }
  std::vector<std::thread> threads;
  for (int i = 0; i < kConversations; ++i) {
    threads.emplace_back([&, i] { together[i] = Converse(conversations[i], scripts[i]); });
  }
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < kConversations; ++i) {
    EXPECT_EQ(together[i].error, "") << i;
    EXPECT_EQ(together[i].texts, alone[i].texts) << i;
    EXPECT_EQ(together[i].tokens, alone[i].tokens) << i;
  }

  const int64_t used = SumOfUsedBytes(*client);
  EXPECT_GT(used, 0);
  EXPECT_EQ((*server)->Gauge("kv_pool_used_bytes", static_cast<double>(used)),
            static_cast<double>(used));
  EXPECT_EQ((*server)->Gauge("sessions_active", kConversations), kConversations);
  for (client::Conversation& conversation : conversations) {
    const auto existed = conversation.Close();
    ASSERT_TRUE(existed.ok()) << existed.status();
    EXPECT_TRUE(*existed);
  }
  EXPECT_EQ(SumOfUsedBytes(*client), 0);
  EXPECT_EQ((*server)->Gauge("kv_pool_used_bytes", 0), 0);
  EXPECT_EQ((*server)->Gauge("kv_pool_reserved_bytes", 0), 0);
  EXPECT_EQ((*server)->Gauge("sessions_active", 0), 0);
}

}  // namespace
}  // namespace concertina::testing
