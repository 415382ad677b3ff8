// Many people talk about pictures at once while others hang up or run out of time beside them; in
// deterministic f32 nobody's answers change by it.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/campaigns/campaign.h"
#include "tests/campaigns/conversation_script.h"
#include "tests/integration/server_process.h"

namespace concertina::testing {
namespace {

using std::chrono::milliseconds;

constexpr int kDisturbers = 3;

// Turns that end early, in sessions of their own, until `over`. Counts those.
int Disturb(const ServerProcess& server, std::mt19937 random, const std::atomic<bool>& over) {
  const auto client = server.Connect();
  int ended = 0;
  while (!over) {
    auto conversation = client->Open();
    if (!conversation.ok()) break;
    for (int turn = 0; turn < 3 && !over; ++turn) {
      client::AskOptions options;
      options.max_tokens = 2000;
      options.ignore_eos = true;
      const bool by_deadline = Draw(random, 0, 1) == 0;
      if (by_deadline) options.timeout = milliseconds(Draw(random, 1, 1500));
      int left = by_deadline ? options.max_tokens : Draw(random, 0, 20);
      options.on_event = [&](const v1::GenerateResponse&) {
        if (left-- <= 0) conversation->Cancel();
      };
      const auto answer = conversation->Ask({client::Text("Tell me a story.")}, options);
      const bool late = answer.status().code() == absl::StatusCode::kDeadlineExceeded;
      EXPECT_TRUE(late || (answer.ok() && answer->stopped)) << answer.status();
      ++ended;
    }
  }
  return ended;
}

TEST(Pictures, AnswersEqualSoloRunsBesideCancelsAndDeadlines) {
  auto started = ServerProcess::Start(BundledF32());
  ASSERT_TRUE(started.ok()) << started.status();
  const ServerProcess& server = **started;
  const auto client = server.Connect();
  const auto model = client->GetModel();
  ASSERT_TRUE(model.ok() && model->deterministic()) << model.status();

  const auto scripts = DrawScripts(Sized(4, 32), Sized(10, 48));
  std::vector<Talk> alone, together(scripts.size());
  for (const Script& script : scripts) {
    alone.push_back(Converse(*client, script));
    ASSERT_EQ(alone.back().error, "");
  }
  std::atomic<bool> over{false};
  std::atomic<int> disturbed{0};
  std::vector<std::thread> talking, disturbing;
  for (uint32_t i = 0; i < kDisturbers; ++i) {
    disturbing.emplace_back([&, i] { disturbed += Disturb(server, RandomStream(100 + i), over); });
  }
  for (size_t i = 0; i < scripts.size(); ++i) {
    talking.emplace_back([&, i] { together[i] = Converse(*server.Connect(), scripts[i]); });
  }
  for (std::thread& thread : talking) thread.join();
  over = true;
  for (std::thread& thread : disturbing) thread.join();

  Talk all;
  for (size_t i = 0; i < scripts.size(); ++i) {
    EXPECT_EQ(together[i].error, "") << i;
    EXPECT_EQ(together[i].tokens, alone[i].tokens) << i << ": " << Describe(scripts[i]);
    all.AddTimes(together[i]);
  }
  EXPECT_GT(disturbed, 0);
  EXPECT_EQ(server.Gauge("sessions_active", 0), 0);
  EXPECT_EQ(server.Gauge("kv_pool_reserved_bytes", 0), 0);
  PrintFigures(
      "pictures",
      absl::StrCat(scripts.size(), " conversations of ", kScriptTurns, " turns beside ",
                   disturbed.load(), " turns ended early; first token p50 ",
                   Percentile(all.first_ms, 0.5), " ms, p99 ", Percentile(all.first_ms, 0.99),
                   " ms; between tokens p50 ", Percentile(all.between_ms, 0.5), " ms, p99 ",
                   Percentile(all.between_ms, 0.99), " ms"));
}

}  // namespace
}  // namespace concertina::testing
