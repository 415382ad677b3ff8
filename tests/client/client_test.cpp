#include "client/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <set>
#include <thread>

#include "client/errors.h"
#include "client/uuid.h"
#include "grpcpp/health_check_service_interface.h"
#include "tests/client/fake_service.h"

namespace concertina::client {
namespace {

using std::chrono::milliseconds;
using ::testing::Each;
using ::testing::ElementsAre;
using testing::FakeServer;
using testing::FakeTurn;
using testing::MakeError;
using testing::MakeTurn;
using ::testing::MatchesRegex;
using ::testing::SizeIs;

constexpr char kUuidV4[] = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}";

class ClientTest : public ::testing::Test {
 protected:
  Conversation Open(const OpenOptions& options = {}) {
    auto conversation = client_->Open(options);
    EXPECT_TRUE(conversation.ok()) << conversation.status();
    return *std::move(conversation);
  }

  FakeServer server_;
  testing::FakeService& service_ = server_.service();
  std::unique_ptr<Client> client_ = Client::Connect(server_.target());
};

TEST_F(ClientTest, OpensUnderItsOwnUuidWithTheOptionsGiven) {
  OpenOptions options;
  options.policy.emplace().set_name("elastic");
  options.budget.emplace().set_tokens(256);
  options.system_prompt = "Be brief.";
  const Conversation one = Open(options);
  const Conversation two = Open();
  EXPECT_THAT(one.id(), MatchesRegex(kUuidV4));
  EXPECT_NE(one.id(), two.id());
  const auto opened = service_.opened();
  ASSERT_EQ(opened.size(), 2);
  EXPECT_EQ(opened[0].session_id(), one.id());
  EXPECT_EQ(opened[0].policy().name(), "elastic");
  EXPECT_EQ(opened[0].budget().tokens(), 256);
  EXPECT_EQ(opened[0].system_prompt(), "Be brief.");
  EXPECT_FALSE(opened[1].has_policy());
  EXPECT_FALSE(opened[1].has_budget());
}

TEST_F(ClientTest, StreamsEventsAndTextInOrder) {
  service_.AddTurn(MakeTurn({"one ", "two ", "three"}));
  Conversation conversation = Open();
  std::vector<std::string> texts;
  std::vector<int> events;
  AskOptions options;
  options.max_tokens = 7;
  options.stop = {"END"};
  options.expected_turn = 0;
  options.on_event = [&](const v1::GenerateResponse& event) {
    events.push_back(event.event_case());
  };
  const auto answer =
      conversation.Ask({UploadedImage("ab"), Text("hello")}, options, [&](std::string_view text) {
        texts.emplace_back(text);
        return true;
      });
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_THAT(texts, ElementsAre("one ", "two ", "three"));
  EXPECT_THAT(events, ElementsAre(1, 2, 3, 4, 4, 4, 5));
  EXPECT_EQ(answer->text, "one two three");
  EXPECT_THAT(answer->token_ids, ElementsAre(4, 4, 5));
  EXPECT_FALSE(answer->stopped);
  ASSERT_TRUE(answer->folded.has_value());
  EXPECT_EQ(answer->folded->layers_size(), testing::kFakeLayers);
  EXPECT_EQ(answer->completed.finish_reason(), v1::FINISH_REASON_STOP);
  const auto request = service_.asked().at(0);
  EXPECT_EQ(request.session_id(), conversation.id());
  EXPECT_EQ(request.parts(0).image().sha256(), "ab");
  EXPECT_EQ(request.parts(1).text(), "hello");
  EXPECT_EQ(request.max_tokens(), 7);
  EXPECT_EQ(request.stop(0), "END");
  EXPECT_TRUE(request.has_expected_turn());
}

TEST_F(ClientTest, EveryCallOfASessionIsRoutedByItsId) {
  std::string id;
  {
    Conversation conversation = Open();
    id = conversation.id();
    ASSERT_TRUE(conversation.Ask({Text("a")}).ok());
    ASSERT_TRUE(conversation.SetBudget(v1::Budget()).ok());
    ASSERT_TRUE(conversation.Info().ok());
    ASSERT_TRUE(client_->UploadImage("x", id).ok());
    ASSERT_TRUE(conversation.Close().ok());
  }
  EXPECT_THAT(service_.routed(),
              ElementsAre("OpenSession " + id, "Generate " + id, "UpdateSession " + id,
                          "GetSession " + id, "UploadImage " + id, "CloseSession " + id));
}

FakeTurn HeldTurn() {
  FakeTurn turn = MakeTurn({"some ", "words"});
  turn.events.pop_back();
  turn.hold = true;
  turn.status = grpc::Status(grpc::CANCELLED, "cancelled");
  return turn;
}

TEST_F(ClientTest, OnTextStopsTheAnswerAndTheSessionGoesOn) {
  service_.AddTurn(HeldTurn());
  Conversation conversation = Open();
  const auto stopped = conversation.Ask({Text("a")}, {}, [](std::string_view) { return false; });
  ASSERT_TRUE(stopped.ok()) << stopped.status();
  EXPECT_TRUE(stopped->stopped);
  EXPECT_TRUE(stopped->text.starts_with("some "));
  EXPECT_TRUE(service_.WaitForCancelled(1));
  const auto next = conversation.Ask({Text("b")});
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(next->text, "ok");
  EXPECT_FALSE(next->stopped);
}

TEST_F(ClientTest, CancelFromAnotherThreadStopsTheAnswer) {
  service_.AddTurn(HeldTurn());
  Conversation conversation = Open();
  std::thread canceller([&] {
    EXPECT_TRUE(service_.WaitForAsked(1));
    conversation.Cancel();
  });
  const auto answer = conversation.Ask({Text("a")});
  canceller.join();
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_TRUE(answer->stopped);
  EXPECT_TRUE(service_.WaitForCancelled(1));
  // A stop is for one answer: the next is whole.
  conversation.Cancel();
  EXPECT_EQ(conversation.Ask({Text("b")})->text, "ok");
}

TEST_F(ClientTest, ATurnAfterAStopWaitsForTheOneThatEnds) {
  service_.AddTurn(HeldTurn());
  for (int i = 0; i < 2; ++i) {
    service_.AddTurn({{}, MakeError(grpc::ABORTED, "busy", "TURN_IN_FLIGHT")});
  }
  Conversation conversation = Open();
  ASSERT_TRUE(conversation.Ask({Text("a")}, {}, [](std::string_view) { return false; }).ok());
  const auto answer = conversation.Ask({Text("b")});
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->text, "ok");
  EXPECT_EQ(service_.asked().size(), 4);
}

TEST_F(ClientTest, ATurnRefusedBecauseOfAnotherClientsIsNotTriedAgain) {
  service_.AddTurn({{}, MakeError(grpc::ABORTED, "busy", "TURN_IN_FLIGHT")});
  Conversation conversation = Open();
  const auto answer = conversation.Ask({Text("a")});
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(DetailsOf(answer.status()).reason, "TURN_IN_FLIGHT");
  EXPECT_EQ(service_.asked().size(), 1);
}

TEST_F(ClientTest, ADeadlineEndsTheTurn) {
  service_.AddTurn(HeldTurn());
  Conversation conversation = Open();
  AskOptions options;
  options.timeout = milliseconds(150);
  std::string text;
  const auto answer = conversation.Ask({Text("a")}, options, [&](std::string_view piece) {
    text += piece;
    return true;
  });
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(text, "some words");
  EXPECT_TRUE(conversation.Ask({Text("b")}).ok());
}

TEST_F(ClientTest, AStreamThatEndsWithoutCompletedIsAnError) {
  FakeTurn turn = MakeTurn({"half"});
  turn.events.pop_back();
  service_.AddTurn(turn);
  Conversation conversation = Open();
  EXPECT_EQ(conversation.Ask({Text("a")}).status().code(), absl::StatusCode::kInternal);
}

TEST_F(ClientTest, ErrorsCarryTheirDetails) {
  service_.AddTurn({{}, MakeError(grpc::RESOURCE_EXHAUSTED, "full", "QUEUE_FULL", "", 1250)});
  service_.AddTurn({{}, MakeError(grpc::INVALID_ARGUMENT, "bad", "", "parts[1].image.data")});
  service_.AddTurn({{}, grpc::Status(grpc::INTERNAL, "broken", "not a google.rpc.Status \xff")});
  Conversation conversation = Open();
  const absl::Status full = conversation.Ask({Text("a")}).status();
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(DetailsOf(full).reason, "QUEUE_FULL");
  EXPECT_EQ(DetailsOf(full).retry_after, milliseconds(1250));
  EXPECT_EQ(Describe(full), "RESOURCE_EXHAUSTED: full [QUEUE_FULL] [try again in 1250 ms]");
  const absl::Status bad = conversation.Ask({Text("a")}).status();
  EXPECT_EQ(DetailsOf(bad).field, "parts[1].image.data");
  EXPECT_EQ(DetailsOf(bad).reason, "");
  EXPECT_EQ(DetailsOf(bad).retry_after, std::nullopt);
  const absl::Status broken = conversation.Ask({Text("a")}).status();
  EXPECT_EQ(broken.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(Describe(broken), "INTERNAL: broken");
}

TEST_F(ClientTest, OpeningIsTriedAgainWhileTheServerIsUnavailable) {
  service_.AddOpenStatus(MakeError(grpc::UNAVAILABLE, "loading", "", "", 10));
  service_.AddOpenStatus(grpc::Status(grpc::UNAVAILABLE, "loading"));
  const Conversation conversation = Open();
  const auto opened = service_.opened();
  ASSERT_EQ(opened.size(), 3);
  EXPECT_EQ(opened[0].session_id(), opened[2].session_id());
}

TEST_F(ClientTest, ASessionWhoseOpeningWasNotHeardOfIsOurs) {
  service_.AddOpenStatus(grpc::Status(grpc::UNAVAILABLE, "connection lost"), true);
  service_.AddOpenStatus(MakeError(grpc::ALREADY_EXISTS, "exists", "SESSION_EXISTS"));
  Conversation conversation = Open();
  EXPECT_TRUE(conversation.Info().ok());
}

TEST_F(ClientTest, OpeningGivesUp) {
  for (int i = 0; i < 100; ++i) service_.AddOpenStatus(grpc::Status(grpc::UNAVAILABLE, "loading"));
  OpenOptions options;
  options.retry_for = milliseconds(0);
  EXPECT_EQ(client_->Open(options).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(service_.opened().size(), 1);
  options.retry_for = milliseconds(350);
  EXPECT_EQ(client_->Open(options).status().code(), absl::StatusCode::kUnavailable);
  // Pauses of 100 and 200 ms.
  EXPECT_EQ(service_.opened().size(), 4);
}

TEST_F(ClientTest, OtherErrorsOfOpeningAndOtherCallsAreNotTriedAgain) {
  service_.AddOpenStatus(MakeError(grpc::RESOURCE_EXHAUSTED, "cap", "SESSION_LIMIT"));
  EXPECT_EQ(DetailsOf(client_->Open().status()).reason, "SESSION_LIMIT");
  EXPECT_EQ(service_.opened().size(), 1);
  Conversation conversation = Open();
  service_.AddTurn({{}, grpc::Status(grpc::UNAVAILABLE, "draining")});
  EXPECT_EQ(conversation.Ask({Text("a")}).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(service_.asked().size(), 1);
}

TEST_F(ClientTest, ClosesOnceByHandOrWhenDestroyed) {
  std::string first;
  std::string second;
  {
    Conversation by_hand = Open();
    first = by_hand.id();
    EXPECT_TRUE(*by_hand.Close());
    EXPECT_FALSE(*by_hand.Close());
    Conversation forgotten = Open();
    second = forgotten.id();
    const Conversation moved = std::move(forgotten);
    EXPECT_EQ(moved.id(), second);
  }
  EXPECT_THAT(service_.closed(), ElementsAre(first, second));
}

TEST_F(ClientTest, UploadsInPiecesTheServiceTakes) {
  const auto file = client_->UploadImage(std::string(150'000, 'x'));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->bytes(), 150'000);
  const auto chunks = service_.chunks();
  EXPECT_THAT(chunks, SizeIs(3));
  EXPECT_THAT(chunks, Each(::testing::Le(size_t{60} << 10)));
}

TEST_F(ClientTest, AnUploadRefusedHalfWaySaysWhy) {
  service_.SetUploadLimit(100'000);
  const auto file = client_->UploadImage(std::string(4 << 20, 'x'));
  EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(DetailsOf(file.status()).field, "chunk");
}

TEST_F(ClientTest, ListsAllPages) {
  for (const char* id : {"a", "b", "c", "d", "e"}) service_.AddSession(id);
  const auto sessions = client_->ListSessions();
  ASSERT_TRUE(sessions.ok());
  std::string ids;
  for (const auto& session : *sessions) ids += session.session_id();
  EXPECT_EQ(ids, "abcde");
}

TEST_F(ClientTest, SetsTheBudgetThroughItsMask) {
  Conversation conversation = Open();
  v1::Budget budget;
  budget.set_bytes(1 << 20);
  const auto session = conversation.SetBudget(budget);
  ASSERT_TRUE(session.ok());
  EXPECT_EQ(session->cache().budget().bytes(), 1 << 20);
  const auto request = service_.updated().at(0);
  ASSERT_EQ(request.update_mask().paths_size(), 1);
  EXPECT_EQ(request.update_mask().paths(0), "budget");
}

TEST_F(ClientTest, SaysWhetherTheServerServes) {
  EXPECT_TRUE(client_->CheckHealth().ok());
  EXPECT_EQ(client_->CheckHealth("no.such.Service").code(), absl::StatusCode::kNotFound);
  auto* health = server_.server().GetHealthCheckService();
  health->SetServingStatus("", false);
  EXPECT_EQ(client_->CheckHealth().code(), absl::StatusCode::kUnavailable);
  std::thread later([&] {
    std::this_thread::sleep_for(milliseconds(100));
    health->SetServingStatus("", true);
  });
  EXPECT_TRUE(client_->CheckHealth("", milliseconds(60'000)).ok());
  later.join();
}

TEST(UuidTest, IsVersion4AndNeverTheSame) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    const std::string id = *MakeUuidV4();
    EXPECT_THAT(id, MatchesRegex(kUuidV4));
    EXPECT_TRUE(seen.insert(id).second);
  }
}

}  // namespace
}  // namespace concertina::client
