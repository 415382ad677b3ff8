// Conversations that branch off and go back.

#include <thread>

#include "tests/rpc/server_fixture.h"

namespace concertina::testing {
namespace {

using grpc::StatusCode;

constexpr char kNewId[] = "0b9e4c1e-57d0-4b8a-9c3e-3f2b6a7d8e90";

class ForkTest : public ServerTest {
 protected:
  grpc::Status Fork(const std::string& id, const std::string& new_id,
                    v1::ForkSessionResponse* response) {
    grpc::ClientContext context;
    v1::ForkSessionRequest request;
    request.set_session_id(id);
    request.set_new_session_id(new_id);
    return stub().ForkSession(&context, request, response);
  }
  grpc::Status Update(const v1::UpdateSessionRequest& request, v1::Session* session = nullptr) {
    grpc::ClientContext context;
    v1::UpdateSessionResponse response;
    const grpc::Status status = stub().UpdateSession(&context, request, &response);
    if (session != nullptr) *session = response.session();
    return status;
  }
  Turn Ask(const std::string& id, const std::string& text) {
    v1::GenerateRequest request = TextTurn(id, text, 8);
    request.set_ignore_eos(true);
    Turn turn = RunTurn(stub(), request);
    EXPECT_TRUE(turn.status.ok()) << turn.status.error_message();
    return turn;
  }
};

v1::UpdateSessionRequest Truncation(const std::string& id, int32_t turn) {
  v1::UpdateSessionRequest request;
  request.set_session_id(id);
  request.set_truncate_turn(turn);
  request.mutable_update_mask()->add_paths("truncate_turn");
  return request;
}

TEST_F(ForkTest, AForkGoesOnAsItsParentWould) {
  StartServer();
  const std::string id = OpenOrDie(stub());
  Ask(id, "Remember the word concertina, please.");
  v1::ForkSessionResponse fork;
  ASSERT_TRUE(Fork(id, kNewId, &fork).ok());
  EXPECT_EQ(fork.session().session_id(), kNewId);
  EXPECT_EQ(fork.session().turns(), 1);
  const v1::Session parent = SessionOrDie(id);
  EXPECT_EQ(fork.session().cache().tokens_seen(), parent.cache().tokens_seen());
  EXPECT_EQ(fork.session().policy().name(), parent.policy().name());
  const Turn copy = Ask(kNewId, "Which word was it?");
  const Turn original = Ask(id, "Which word was it?");
  EXPECT_EQ(copy.token_ids, original.token_ids);
  // From here on they differ, and neither notices the other.
  Ask(kNewId, "Forget it.");
  EXPECT_EQ(SessionOrDie(id).turns(), 2);
  EXPECT_EQ(SessionOrDie(kNewId).turns(), 3);
}

TEST_F(ForkTest, ForksAreRefusedWithReasons) {
  StartServer([](ServerConfig& config) { config.engine.max_sessions = 2; });
  v1::ForkSessionResponse fork;
  EXPECT_EQ(DetailsOf(Fork(kNewId, "", &fork)).reason, "SESSION_NOT_FOUND");
  EXPECT_EQ(DetailsOf(Fork("mine", "", &fork)).field, "session_id");
  const std::string id = OpenOrDie(stub());
  EXPECT_EQ(DetailsOf(Fork(id, "mine", &fork)).field, "new_session_id");
  EXPECT_EQ(DetailsOf(Fork(id, id, &fork)).reason, "SESSION_EXISTS");
  ASSERT_TRUE(Fork(id, "", &fork).ok());
  EXPECT_EQ(DetailsOf(Fork(id, "", &fork)).reason, "SESSION_LIMIT");
  grpc::ClientContext context;
  const auto reader = stub().Generate(&context, LongTurn(id));
  v1::GenerateResponse event;
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_EQ(DetailsOf(Fork(id, "", &fork)).reason, "TURN_IN_FLIGHT");
  EXPECT_EQ(DetailsOf(Update(Truncation(id, 0))).reason, "TURN_IN_FLIGHT");
  context.TryCancel();
  while (reader->Read(&event)) {
  }
  reader->Finish();
}

TEST_F(ForkTest, ATruncatedConversationAnswersAsIfNothingElseWasSaid) {
  StartServer();
  const std::string id = OpenOrDie(stub());
  Ask(id, "One thing.");
  const Turn before = Ask(id, "Another thing.");
  Ask(id, "A thing to regret.");
  v1::Session session;
  const grpc::Status status = Update(Truncation(id, 1), &session);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(session.turns(), 1);
  const Turn again = Ask(id, "Another thing.");
  EXPECT_EQ(again.token_ids, before.token_ids);
  EXPECT_EQ(again.started()->turn(), 2);
}

TEST_F(ForkTest, UpdatesAreDoneTogetherOrNotAtAll) {
  StartServer();
  const std::string id = OpenOrDie(stub());
  Ask(id, "One thing.");
  v1::UpdateSessionRequest both = Truncation(id, 2);
  both.mutable_update_mask()->add_paths("budget");
  both.mutable_budget()->set_tokens(7);
  EXPECT_EQ(DetailsOf(Update(both)).field, "truncate_turn");
  EXPECT_NE(SessionOrDie(id).cache().budget().tokens(), 7);
  both.set_truncate_turn(0);
  v1::Session session;
  ASSERT_TRUE(Update(both, &session).ok());
  EXPECT_EQ(session.turns(), 0);
  EXPECT_EQ(session.cache().budget().tokens(), 7);
  both.set_truncate_turn(-1);
  EXPECT_EQ(DetailsOf(Update(both)).field, "truncate_turn");
  both.set_truncate_turn(0);
  both.mutable_update_mask()->add_paths("budget");
  EXPECT_EQ(DetailsOf(Update(both)).field, "update_mask");
}

TEST_F(ForkTest, SessionsTellOfTheirMemoryAndEnd) {
  StartServer(
      [](ServerConfig& config) { config.engine.session_idle_timeout = std::chrono::minutes(10); });
  const std::string id = OpenOrDie(stub());
  Ask(id, "Some words for the record.");
  const v1::Session session = SessionOrDie(id);
  EXPECT_FALSE(session.evicted());
  EXPECT_GT(session.transcript_bytes(), 0);
  const int64_t left = session.expire_time().seconds() - session.last_used_time().seconds();
  EXPECT_GE(left, 598);
  EXPECT_LE(left, 602);
}

// A history is replayed turn by turn; a client that gives up stops that, and leaves nothing behind.
TEST_F(ForkTest, ACancelledReplayLeavesNoSession) {
  StartServer();
  v1::OpenSessionRequest open;
  open.set_session_id(kNewId);
  for (int turn = 0; turn < 400; ++turn) {
    for (const v1::Role role : {v1::ROLE_USER, v1::ROLE_ASSISTANT}) {
      v1::Message* message = open.add_history();
      message->set_role(role);
      message->add_parts()->set_text("Words and words and words, all of them to be read again.");
    }
  }
  Engine& engine = server().runtime().engine();
  grpc::ClientContext context;
  grpc::Status status;
  std::thread opening([&] {
    v1::OpenSessionResponse response;
    status = stub().OpenSession(&context, open, &response);
  });
  EXPECT_TRUE(Eventually([&] { return engine.gauges().requests_running == 1; }));
  context.TryCancel();
  opening.join();
  EXPECT_EQ(status.error_code(), StatusCode::CANCELLED);
  EXPECT_TRUE(Eventually([&] {
    const EngineGauges now = engine.gauges();
    return now.requests_running == 0 && now.sessions_active == 0 && now.pool_used_bytes == 0;
  }));
  open.clear_history();
  EXPECT_EQ(OpenOrDie(stub(), open), kNewId);
}

}  // namespace
}  // namespace concertina::testing
