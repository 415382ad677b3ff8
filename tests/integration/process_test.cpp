// Stops, cancels and deadlines, as a client sees them of the real process.
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <future>
#include <string>
#include <thread>

#include "client/errors.h"
#include "tests/integration/server_process.h"

namespace concertina::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

client::AskOptions Exactly(int32_t max_tokens) {
  client::AskOptions options;
  options.max_tokens = max_tokens;
  options.ignore_eos = true;
  return options;
}

class BundledProcess : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = ServerProcess::Start({"--pool-bytes", "256MiB", "--grace-period", "2m"});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    client_ = server_->Connect();
  }

  std::unique_ptr<ServerProcess> server_;
  std::unique_ptr<client::Client> client_;
};

TEST_F(BundledProcess, SigtermLetsTheRunningTurnFinish) {
  ASSERT_TRUE(client_->CheckHealth().ok());
  auto conversation = client_->Open();
  ASSERT_TRUE(conversation.ok()) << conversation.status();
  // Long enough to be still running while the questions below are asked.
  constexpr int kTokens = 800;
  std::promise<void> begun;
  std::atomic<int> pieces{0};
  auto answer = std::async(std::launch::async, [&] {
    return conversation->Ask({client::Text("Tell me a story.")}, Exactly(kTokens),
                             [&](std::string_view) {
                               if (pieces++ == 0) begun.set_value();
                               return true;
                             });
  });
  ASSERT_EQ(begun.get_future().wait_for(seconds(60)), std::future_status::ready);
  server_->process().Signal(SIGTERM);

  absl::Status health;
  const auto end = steady_clock::now() + seconds(20);
  while ((health = client_->CheckHealth()).ok() && steady_clock::now() < end) {
    std::this_thread::sleep_for(milliseconds(2));
  }
  EXPECT_EQ(health.code(), absl::StatusCode::kUnavailable) << health;
  client::OpenOptions at_once;
  at_once.retry_for = milliseconds(0);
  EXPECT_EQ(client_->Open(at_once).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(answer.wait_for(seconds(0)), std::future_status::timeout) << "the turn was too short";

  const auto finished = answer.get();
  ASSERT_TRUE(finished.ok()) << finished.status();
  EXPECT_EQ(finished->token_ids.size(), kTokens);
  EXPECT_EQ(finished->completed.finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(server_->process().WaitForExit(seconds(60)), 0) << server_->Log();
}

TEST_F(BundledProcess, CancelInMidStreamLeavesTheSessionUsable) {
  auto conversation = client_->Open();
  ASSERT_TRUE(conversation.ok()) << conversation.status();
  std::string heard;
  const auto stopped = conversation->Ask({client::Text("Tell me a story.")}, Exactly(2000),
                                         [&](std::string_view text) {
                                           heard += text;
                                           return heard.size() < 40;
                                         });
  ASSERT_TRUE(stopped.ok()) << stopped.status();
  EXPECT_TRUE(stopped->stopped);
  EXPECT_GE(heard.size(), 40u);

  const auto next = conversation->Ask({client::Text("Go on.")}, Exactly(8));
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(next->token_ids.size(), 8u);
  EXPECT_EQ(next->completed.turn(), 2);
  EXPECT_GT(next->completed.usage().carried_tokens(), 8);
  EXPECT_LT(next->completed.usage().carried_tokens(), 1000);

  // From another thread, while nothing of the answer has come yet.
  const std::string longer = TextOfTokens(*client_, 2000);
  auto answer = std::async(
      std::launch::async, [&] { return conversation->Ask({client::Text(longer)}, Exactly(2000)); });
  EXPECT_EQ(server_->Gauge("requests_running", 1), 1);
  conversation->Cancel();
  const auto abandoned = answer.get();
  ASSERT_TRUE(abandoned.ok()) << abandoned.status();
  EXPECT_TRUE(abandoned->stopped);
  const auto last = conversation->Ask({client::Text("And then?")}, Exactly(8));
  ASSERT_TRUE(last.ok()) << last.status();
  EXPECT_EQ(last->token_ids.size(), 8u);
  const auto session = conversation->Info();
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_LE(session->cache().live_entries(), session->cache().budget_entries());
  const auto used = static_cast<double>(session->cache().used_bytes());
  EXPECT_EQ(server_->Gauge("kv_pool_used_bytes", used), used);
}

TEST_F(BundledProcess, ADeadlineEndsTheAnswerAndKeepsTheSession) {
  auto conversation = client_->Open();
  ASSERT_TRUE(conversation.ok()) << conversation.status();
  client::AskOptions options = Exactly(8000);
  options.timeout = seconds(2);
  const auto late = conversation->Ask({client::Text("Tell me a story.")}, options);
  EXPECT_EQ(late.status().code(), absl::StatusCode::kDeadlineExceeded) << late.status();
  EXPECT_LT(server_->Metric("generated_tokens_total"), options.max_tokens / 2);
  const auto next = conversation->Ask({client::Text("Go on.")}, Exactly(8));
  ASSERT_TRUE(next.ok()) << next.status();
  // What was told before the deadline is part of the conversation.
  EXPECT_GT(next->completed.usage().carried_tokens(), 40);
  EXPECT_GE(server_->Metric("generations_finished_total", "reason=\"deadline\""), 1);
}

TEST_F(BundledProcess, MetricsPageIsClean) {
  auto conversation = client_->Open();
  ASSERT_TRUE(conversation.ok()) << conversation.status();
  const auto answer = conversation->Ask({client::ImageFile(ReadWholeFile(SceneImage(0))),
                                         client::Text("Describe the image in detail.")});
  ASSERT_TRUE(answer.ok()) << answer.status();
  const std::string page = server_->Metrics();
  const CommandResult lint = RunCommand({"/usr/bin/promtool", "check", "metrics"}, page);
  EXPECT_EQ(lint.exit_code, 0) << lint.output << lint.errors;
  EXPECT_EQ(lint.output + lint.errors, "");
  EXPECT_EQ(server_->Gauge("sessions_active", 1), 1);
  EXPECT_EQ(server_->Metric("generated_tokens_total"),
            static_cast<double>(answer->token_ids.size()));
  EXPECT_EQ(server_->Metric("prompt_tokens_total", "modality=\"image\""),
            static_cast<double>(answer->completed.usage().image_tokens()));
  EXPECT_GE(server_->Metric("kv_folded_entries_total", "phase=\"prefill\",policy=\"concertina\""),
            1);
  EXPECT_EQ(server_->Metric("time_to_first_token_seconds_count"), 1);
}

}  // namespace
}  // namespace concertina::testing
