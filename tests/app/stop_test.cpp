// SIGTERM to the real process: what is said, how fast, with which exit code.
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <future>
#include <string>
#include <thread>

#include "tests/integration/server_process.h"

namespace concertina::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

// The bundled model: the tiny one's context ends before a signal is sent.
constexpr int kAnswer = 150;
constexpr int kEndlessAnswer = 4000;

std::unique_ptr<ServerProcess> StartBundled(const std::string& grace) {
  auto server = ServerProcess::Start({"--pool-bytes", "256MiB", "--grace-period", grace});
  EXPECT_TRUE(server.ok()) << server.status();
  return server.ok() ? *std::move(server) : nullptr;
}

client::AskOptions Exactly(int32_t max_tokens) {
  client::AskOptions options;
  options.max_tokens = max_tokens;
  options.ignore_eos = true;
  return options;
}

milliseconds Since(steady_clock::time_point start) {
  return std::chrono::duration_cast<milliseconds>(steady_clock::now() - start);
}

// A turn under way on a thread of its own.
class RunningTurn {
 public:
  RunningTurn(const ServerProcess& server, int tokens) : client_(server.Connect()) {
    auto conversation = client_->Open();
    EXPECT_TRUE(conversation.ok()) << conversation.status();
    conversation_ = std::make_unique<client::Conversation>(*std::move(conversation));
    std::promise<void> begun;
    answer_ = std::async(std::launch::async, [this, tokens, &begun] {
      std::atomic<bool> first{true};
      return conversation_->Ask({client::Text("Go.")}, Exactly(tokens), [&](std::string_view) {
        if (first.exchange(false)) begun.set_value();
        return true;
      });
    });
    EXPECT_EQ(begun.get_future().wait_for(seconds(20)), std::future_status::ready);
  }
  auto Get() { return answer_.get(); }

 private:
  std::unique_ptr<client::Client> client_;
  std::unique_ptr<client::Conversation> conversation_;
  std::future<absl::StatusOr<client::Answer>> answer_;
};

TEST(StopTest, AnIdleServerStopsWithinASecond) {
  auto server = StartBundled("30s");
  ASSERT_NE(server, nullptr);
  EXPECT_FALSE(server->Metrics().empty());  // CivetWeb has seen a visitor
  const auto start = steady_clock::now();
  server->process().Signal(SIGTERM);
  EXPECT_EQ(server->process().WaitForExit(seconds(10)), 0) << server->Log();
  const auto took = Since(start);
  EXPECT_LT(took, seconds(1)) << server->Log();
  std::printf("idle stop: %lld ms\n", static_cast<long long>(took.count()));
  const std::string log = server->Log();
  for (const char* line : {"limits: pool=256MiB ", "memory at most ", "listening on ", "admin on ",
                           "metrics on port ", "stopping: turns in flight may go on for 30s",
                           "draining: 0 turns running", "drained: no turn is running", "stopped"}) {
    EXPECT_NE(log.find(line), std::string::npos) << line << "\n" << log;
  }
}

TEST(StopTest, ReadinessTurnsWithinASecondAndTheTurnFinishes) {
  auto server = StartBundled("30s");
  ASSERT_NE(server, nullptr);
  RunningTurn turn(*server, kAnswer);
  const auto client = server->Connect();
  ASSERT_TRUE(client->CheckHealth().ok());
  const auto start = steady_clock::now();
  server->process().Signal(SIGTERM);
  while (client->CheckHealth().ok() && Since(start) < seconds(5)) {
    std::this_thread::sleep_for(milliseconds(2));
  }
  const auto took = Since(start);
  EXPECT_LT(took, seconds(1));
  std::printf("readiness: %lld ms\n", static_cast<long long>(took.count()));
  const auto answer = turn.Get();
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->token_ids.size(), static_cast<size_t>(kAnswer));
  EXPECT_EQ(server->process().WaitForExit(seconds(20)), 0) << server->Log();
}

TEST(StopTest, TheGracePeriodEndsTurnsThatDoNot) {
  auto server = StartBundled("200ms");
  ASSERT_NE(server, nullptr);
  RunningTurn turn(*server, kEndlessAnswer);
  const auto start = steady_clock::now();
  server->process().Signal(SIGTERM);
  EXPECT_EQ(server->process().WaitForExit(seconds(10)), 0) << server->Log();
  EXPECT_GE(Since(start), milliseconds(200));
  // Far from the minute the answer would take; the last words of connections have a second.
  EXPECT_LT(Since(start), seconds(5));
  EXPECT_FALSE(turn.Get().ok());
}

TEST(StopTest, ASecondSignalEndsTheProcessAtOnce) {
  auto server = StartBundled("1h");
  ASSERT_NE(server, nullptr);
  RunningTurn turn(*server, kEndlessAnswer);
  server->process().Signal(SIGTERM);
  std::this_thread::sleep_for(milliseconds(200));
  ASSERT_TRUE(server->process().IsRunning());
  const auto start = steady_clock::now();
  server->process().Signal(SIGTERM);
  EXPECT_EQ(server->process().WaitForExit(seconds(5)), 128 + SIGTERM);
  EXPECT_LT(Since(start), seconds(1));
  EXPECT_FALSE(turn.Get().ok());
  EXPECT_NE(server->Log().find("stopping at once: a second signal"), std::string::npos);
}

}  // namespace
}  // namespace concertina::testing
