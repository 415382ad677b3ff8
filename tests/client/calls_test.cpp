// Copies, truncation, deadlines, retries and the admin client, against fakes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <thread>

#include "client/admin.h"
#include "client/client.h"
#include "client/errors.h"
#include "client/retry.h"
#include "nlohmann/json.hpp"
#include "tests/client/fake_admin.h"
#include "tests/client/fake_service.h"

namespace concertina::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::FakeServer;
using testing::FakeTurn;
using testing::MakeError;
using testing::MakeRefusal;
using testing::MakeTurn;
using ::testing::SizeIs;

using Clock = std::chrono::steady_clock;

class CallsTest : public ::testing::Test {
 protected:
  std::unique_ptr<Client> Connect(const ClientOptions& options = {}) {
    return Client::Connect(server_.target(), options);
  }

  // Repeats up to `attempts` times; without a hint of the server only after half a minute.
  static ClientOptions Retrying(int attempts) {
    ClientOptions options;
    options.retry.max_attempts = attempts;
    options.retry.initial_backoff = seconds(60);
    options.retry.max_backoff = seconds(60);
    return options;
  }

  FakeServer server_;
  testing::FakeService& service_ = server_.service();
};

TEST_F(CallsTest, AForkIsAConversationOfItsOwn) {
  const auto client = Connect();
  auto original = client->Open();
  ASSERT_TRUE(original.ok());
  ASSERT_TRUE(original->Ask({Text("a")}).ok());
  std::string id;
  {
    auto copy = original->Fork();
    ASSERT_TRUE(copy.ok()) << copy.status();
    id = copy->id();
    EXPECT_NE(id, original->id());
    EXPECT_EQ(copy->Info()->turns(), 1);
    ASSERT_TRUE(copy->Ask({Text("b")}).ok());
    EXPECT_EQ(copy->Info()->turns(), 2);
    EXPECT_EQ(original->Info()->turns(), 1);
  }
  ASSERT_EQ(service_.forked().size(), 1u);
  EXPECT_EQ(service_.forked()[0].session_id(), original->id());
  EXPECT_EQ(service_.forked()[0].new_session_id(), id);
  EXPECT_EQ(service_.asked()[1].session_id(), id);
  EXPECT_THAT(service_.closed(), ::testing::ElementsAre(id));
  EXPECT_THAT(service_.routed(), ::testing::Contains("ForkSession " + original->id()));
}

TEST_F(CallsTest, AnAttachedConversationIsLeftOpenOnceReleased) {
  service_.AddSession("theirs");
  const auto client = Connect();
  {
    Conversation conversation = client->Attach("theirs");
    ASSERT_TRUE(conversation.Ask({Text("a")}).ok());
    conversation.Release();
    EXPECT_FALSE(*conversation.Close());
  }
  EXPECT_THAT(service_.closed(), SizeIs(0));
  EXPECT_EQ(client->GetSession("theirs")->turns(), 1);
  const auto copy = client->ForkSession("theirs");
  ASSERT_TRUE(copy.ok());
  EXPECT_EQ(copy->turns(), 1);
  EXPECT_EQ(DetailsOf(client->ForkSession("nobody's").status()).reason, "SESSION_NOT_FOUND");
}

TEST_F(CallsTest, TruncateAsksForThatAlone) {
  auto conversation = Connect()->Open();
  ASSERT_TRUE(conversation.ok());
  for (const char* text : {"a", "b"}) ASSERT_TRUE(conversation->Ask({Text(text)}).ok());
  const auto session = conversation->Truncate(1);
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_EQ(session->turns(), 1);
  const auto request = service_.updated().at(0);
  EXPECT_THAT(request.update_mask().paths(), ::testing::ElementsAre("truncate_turn"));
  EXPECT_EQ(request.truncate_turn(), 1);
  EXPECT_FALSE(request.has_budget());
}

TEST_F(CallsTest, AfterAStopCopiesAndTruncationWaitForTheTurnToEnd) {
  const auto busy = MakeError(grpc::ABORTED, "a turn is in flight", "TURN_IN_FLIGHT");
  auto conversation = Connect()->Open();
  ASSERT_TRUE(conversation.ok());
  // Nothing was stopped: the refusal is the caller's.
  service_.AddUpdateStatus(busy);
  EXPECT_EQ(DetailsOf(conversation->Truncate(0).status()).reason, "TURN_IN_FLIGHT");
  service_.AddUpdateStatus(busy);
  EXPECT_EQ(DetailsOf(conversation->Fork().status()).reason, "TURN_IN_FLIGHT");

  FakeTurn held = MakeTurn({"word"});
  held.events.pop_back();
  held.hold = true;
  held.status = grpc::Status(grpc::CANCELLED, "cancelled");
  service_.AddTurn(held);
  ASSERT_TRUE(conversation->Ask({Text("a")}, {}, [](std::string_view) { return false; })->stopped);
  service_.AddUpdateStatus(busy);
  EXPECT_TRUE(conversation->Truncate(0).ok());
  service_.AddUpdateStatus(busy);
  EXPECT_TRUE(conversation->Fork().ok());
}

TEST_F(CallsTest, ARefusedTurnIsRepeatedWhenTheServerSays) {
  for (int i = 0; i < 2; ++i) service_.AddTurn(MakeRefusal("QUEUE_FULL", 150));
  auto conversation = Connect(Retrying(3))->Open();
  ASSERT_TRUE(conversation.ok());
  const auto begin = Clock::now();
  const auto answer = conversation->Ask({Text("a")});
  const auto took = Clock::now() - begin;
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->text, "ok");
  EXPECT_EQ(service_.asked().size(), 3u);
  // The server's pause, twice; not the channel's own minute.
  EXPECT_GE(took, milliseconds(300));
  EXPECT_LT(took, seconds(20));
}

TEST_F(CallsTest, WithoutRetriesARefusalIsTheCallers) {
  service_.AddTurn(MakeRefusal("QUEUE_FULL", 150));
  auto conversation = Connect()->Open();
  ASSERT_TRUE(conversation.ok());
  const auto details = DetailsOf(conversation->Ask({Text("a")}).status());
  EXPECT_EQ(details.reason, "QUEUE_FULL");
  EXPECT_EQ(details.retry_after, milliseconds(150));
  EXPECT_EQ(service_.asked().size(), 1u);
}

TEST_F(CallsTest, RetriesEndAfterTheLastAttemptWithItsDetails) {
  for (int i = 0; i < 2; ++i) service_.AddTurn(MakeRefusal("POOL_EXHAUSTED", 10));
  auto conversation = Connect(Retrying(2))->Open();
  ASSERT_TRUE(conversation.ok());
  EXPECT_EQ(DetailsOf(conversation->Ask({Text("a")}).status()).reason, "POOL_EXHAUSTED");
  EXPECT_EQ(service_.asked().size(), 2u);
}

TEST_F(CallsTest, AnAnswerThatBeganOrAnErrorForGoodIsNotRepeated) {
  FakeTurn broken = MakeTurn({"half "});
  broken.events.pop_back();
  broken.status = grpc::Status(grpc::RESOURCE_EXHAUSTED, "too late");
  broken.pushback_ms = 10;
  service_.AddTurn(broken);
  FakeTurn wrong;
  wrong.status = MakeError(grpc::INVALID_ARGUMENT, "no", "", "parts");
  wrong.pushback_ms = 10;
  service_.AddTurn(wrong);
  auto conversation = Connect(Retrying(5))->Open();
  ASSERT_TRUE(conversation.ok());
  EXPECT_EQ(conversation->Ask({Text("a")}).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(conversation->Ask({Text("a")}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(service_.asked().size(), 2u);
}

TEST_F(CallsTest, WhatMayHaveBeenDoneIsNotDoneTwice) {
  ClientOptions options = Retrying(3);
  options.retry.initial_backoff = options.retry.max_backoff = milliseconds(10);
  const auto client = Connect(options);
  const grpc::Status gone(grpc::UNAVAILABLE, "the connection broke");
  const grpc::Status full = MakeError(grpc::RESOURCE_EXHAUSTED, "full", "SESSION_LIMIT");
  OpenOptions at_once;
  at_once.retry_for = milliseconds(0);
  service_.AddOpenStatus(gone);
  EXPECT_EQ(client->Open(at_once).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(service_.opened().size(), 1u);
  service_.AddOpenStatus(full);
  auto conversation = client->Open(at_once);
  ASSERT_TRUE(conversation.ok()) << conversation.status();
  EXPECT_EQ(service_.opened().size(), 3u);

  FakeTurn broken;
  broken.status = gone;
  service_.AddTurn(broken);
  EXPECT_EQ(conversation->Ask({Text("a")}).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(service_.asked().size(), 1u);
  service_.AddUpdateStatus(gone);
  EXPECT_EQ(conversation->Fork().status().code(), absl::StatusCode::kUnavailable);
  service_.AddUpdateStatus(full);
  EXPECT_TRUE(conversation->Fork().ok());
  EXPECT_EQ(service_.forked().size(), 3u);
  // The same budget twice is the same as once.
  service_.AddUpdateStatus(gone);
  EXPECT_TRUE(conversation->SetBudget(v1::Budget()).ok());
  EXPECT_EQ(service_.updated().size(), 2u);
}

TEST_F(CallsTest, TheDeadlineSpansAllAttempts) {
  service_.AddTurn(MakeRefusal("QUEUE_FULL", 60'000));
  ClientOptions options = Retrying(3);
  options.ask_timeout = milliseconds(2'000);
  auto conversation = Connect(options)->Open();
  ASSERT_TRUE(conversation.ok());
  const auto begin = Clock::now();
  EXPECT_EQ(conversation->Ask({Text("a")}).status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_LT(Clock::now() - begin, seconds(20));
  EXPECT_EQ(service_.asked().size(), 1u);
}

TEST_F(CallsTest, AnAsksOwnDeadlineIsStrongerThanTheClients) {
  FakeTurn held = MakeTurn({"some ", "words"});
  held.events.pop_back();
  held.hold = true;
  service_.AddTurn(held);
  ClientOptions options;
  options.ask_timeout = seconds(100);
  auto conversation = Connect(options)->Open();
  ASSERT_TRUE(conversation.ok());
  AskOptions ask;
  ask.timeout = milliseconds(2'000);
  std::string seen;
  const auto answer = conversation->Ask({Text("a")}, ask, [&seen](std::string_view text) {
    seen += text;
    return true;
  });
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(seen, "some words");
  EXPECT_TRUE(service_.WaitForCancelled(1));
}

TEST(RetryServiceConfigTest, IsJsonWithinTheLimitsOfGrpc) {
  EXPECT_EQ(RetryServiceConfig({}), "");
  RetryOptions options;
  options.max_attempts = 99;
  options.initial_backoff = milliseconds(0);
  options.max_backoff = milliseconds(2'500);
  const auto config = nlohmann::json::parse(RetryServiceConfig(options));
  const auto& policy = config["methodConfig"][0]["retryPolicy"];
  EXPECT_EQ(policy["maxAttempts"], 5);
  EXPECT_EQ(policy["initialBackoff"], "0.001s");
  EXPECT_EQ(policy["maxBackoff"], "2.500s");
  EXPECT_EQ(config["methodConfig"][1]["name"].size(), 3);
}

TEST(AdminTest, ReadsLoadDrainsAndEvicts) {
  testing::FakeAdmin server;
  const auto admin = Admin::Connect(server.target());
  const auto load = admin->GetLoad();
  ASSERT_TRUE(load.ok()) << load.status();
  EXPECT_EQ(load->requests_running(), 3);
  EXPECT_FALSE(load->draining());
  const auto running = admin->Drain(milliseconds(1'500));
  ASSERT_TRUE(running.ok()) << running.status();
  EXPECT_EQ(*running, 2);
  EXPECT_EQ(server.drained().at(0).timeout().seconds(), 1);
  EXPECT_EQ(server.drained().at(0).timeout().nanos(), 500'000'000);
  EXPECT_EQ(*admin->EvictSession("here"), 4096);
  EXPECT_EQ(DetailsOf(admin->EvictSession("away").status()).reason, "SESSION_NOT_FOUND");
}

}  // namespace
}  // namespace concertina::client
