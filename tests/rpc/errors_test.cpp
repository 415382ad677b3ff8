// Every refusal as a client sees it: code, details, metadata.

#include "grpcpp/create_channel.h"
#include "tests/rpc/server_fixture.h"

namespace concertina::testing {
namespace {

using grpc::StatusCode;

constexpr char kUnknownId[] = "0b9e4c1e-57d0-4b8a-9c3e-3f2b6a7d8e90";

class ErrorsTest : public ServerTest {
 protected:
  grpc::Status Open(const v1::OpenSessionRequest& request) {
    grpc::ClientContext context;
    v1::OpenSessionResponse response;
    return stub().OpenSession(&context, request, &response);
  }
  grpc::Status Score(const v1::ScoreRequest& request) {
    grpc::ClientContext context;
    v1::ScoreResponse response;
    return stub().Score(&context, request, &response);
  }
  void ExpectField(const grpc::Status& status, const std::string& field) {
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT) << status.error_message();
    EXPECT_EQ(DetailsOf(status).field, field) << status.error_message();
  }
  void ExpectReason(const grpc::Status& status, StatusCode code, const std::string& reason) {
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_EQ(DetailsOf(status).reason, reason);
    EXPECT_EQ(DetailsOf(status).domain, "concertina");
  }
};

TEST_F(ErrorsTest, UnknownSession) {
  StartServer();
  ExpectReason(RunTurn(stub(), TextTurn(kUnknownId, "hi", 1)).status, StatusCode::NOT_FOUND,
               "SESSION_NOT_FOUND");
  grpc::ClientContext get_context;
  v1::GetSessionRequest get;
  get.set_session_id(kUnknownId);
  v1::GetSessionResponse got;
  ExpectReason(stub().GetSession(&get_context, get, &got), StatusCode::NOT_FOUND,
               "SESSION_NOT_FOUND");
  grpc::ClientContext update_context;
  v1::UpdateSessionRequest update;
  update.set_session_id(kUnknownId);
  update.mutable_budget()->set_ratio(0.5);
  update.mutable_update_mask()->add_paths("budget");
  v1::UpdateSessionResponse updated;
  ExpectReason(stub().UpdateSession(&update_context, update, &updated), StatusCode::NOT_FOUND,
               "SESSION_NOT_FOUND");
}

TEST_F(ErrorsTest, SessionIdsHaveOneForm) {
  StartServer();
  v1::OpenSessionRequest open;
  open.set_session_id("mine");
  ExpectField(Open(open), "session_id");
  ExpectField(RunTurn(stub(), TextTurn("", "hi", 1)).status, "session_id");
  grpc::ClientContext context;
  v1::CloseSessionResponse response;
  ExpectField(stub().CloseSession(&context, {}, &response), "session_id");
}

TEST_F(ErrorsTest, HeaderAndBodyMustAgree) {
  StartServer();
  const std::string id = OpenOrDie(stub());
  for (const bool equal : {true, false}) {
    grpc::ClientContext context;
    context.AddMetadata("x-session-id", equal ? id : kUnknownId);
    v1::GetSessionRequest request;
    request.set_session_id(id);
    v1::GetSessionResponse response;
    const grpc::Status status = stub().GetSession(&context, request, &response);
    if (equal) {
      EXPECT_TRUE(status.ok());
    } else {
      ExpectField(status, "session_id");
    }
  }
}

TEST_F(ErrorsTest, HeaderAloneNamesANewSession) {
  StartServer();
  grpc::ClientContext context;
  context.AddMetadata("x-session-id", kUnknownId);
  v1::OpenSessionResponse response;
  ASSERT_TRUE(stub().OpenSession(&context, {}, &response).ok());
  EXPECT_EQ(response.session().session_id(), kUnknownId);
}

TEST_F(ErrorsTest, SameIdTwice) {
  StartServer();
  v1::OpenSessionRequest open;
  open.set_session_id(kUnknownId);
  ASSERT_TRUE(Open(open).ok());
  ExpectReason(Open(open), StatusCode::ALREADY_EXISTS, "SESSION_EXISTS");
}

TEST_F(ErrorsTest, WrongTurnNumber) {
  StartServer();
  v1::GenerateRequest turn = TextTurn(OpenOrDie(stub()), "hi", 1);
  turn.set_expected_turn(3);
  ExpectReason(RunTurn(stub(), turn).status, StatusCode::ABORTED, "TURN_MISMATCH");
}

TEST_F(ErrorsTest, SessionLimitSaysWhenToComeBack) {
  StartServer([](ServerConfig& config) { config.engine.max_sessions = 1; });
  OpenOrDie(stub());
  grpc::ClientContext context;
  v1::OpenSessionResponse response;
  const grpc::Status status = stub().OpenSession(&context, {}, &response);
  ExpectReason(status, StatusCode::RESOURCE_EXHAUSTED, "SESSION_LIMIT");
  EXPECT_EQ(DetailsOf(status).quota_subject, "SESSION_LIMIT");
  ASSERT_TRUE(DetailsOf(status).retry_ms.has_value());
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto pushback = trailers.find("grpc-retry-pushback-ms");
  ASSERT_NE(pushback, trailers.end());
  EXPECT_EQ(std::string(pushback->second.data(), pushback->second.size()),
            std::to_string(*DetailsOf(status).retry_ms));
}

TEST_F(ErrorsTest, BadNumbersAreNamed) {
  StartServer();
  const std::string id = OpenOrDie(stub());
  v1::GenerateRequest turn = TextTurn(id, "hi", 1);
  turn.mutable_sampling()->set_top_p(std::numeric_limits<float>::quiet_NaN());
  ExpectField(RunTurn(stub(), turn).status, "sampling.top_p");
  v1::OpenSessionRequest open;
  open.mutable_budget()->set_ratio(1.5);
  ExpectField(Open(open), "budget.ratio");
  open.clear_budget();
  open.mutable_policy()->set_name("nonsense");
  ExpectField(Open(open), "policy.name");
}

TEST_F(ErrorsTest, ScoreNamesItsFields) {
  StartServer();
  v1::ScoreRequest good;
  good.mutable_prompt()->mutable_ids()->add_ids(5);
  good.mutable_continuation()->mutable_ids()->add_ids(6);
  EXPECT_TRUE(Score(good).ok());
  v1::ScoreRequest bad = good;
  bad.clear_prompt();
  ExpectField(Score(bad), "prompt");
  bad = good;
  bad.mutable_continuation()->set_text("");
  ExpectField(Score(bad), "continuation");
  bad = good;
  bad.mutable_prompt()->mutable_ids()->add_ids(400);
  ExpectField(Score(bad), "prompt.ids.ids[1]");
  bad.mutable_prompt()->mutable_ids()->set_ids(1, -1);
  ExpectField(Score(bad), "prompt.ids.ids[1]");
  bad = good;
  bad.mutable_policy()->set_name("nonsense");
  ExpectField(Score(bad), "policy.name");
  bad = good;
  bad.add_turns();
  ExpectField(Score(bad), "turns[0]");
  bad = good;
  bad.add_choices(-1);
  ExpectField(Score(bad), "choices[0]");
  bad = good;
  bad.set_fold(static_cast<v1::ScoreFold>(9));
  ExpectField(Score(bad), "fold");
}

TEST_F(ErrorsTest, UpdatesNeedAKnownMask) {
  StartServer();
  v1::UpdateSessionRequest update;
  update.set_session_id(OpenOrDie(stub()));
  update.mutable_budget()->set_ratio(0.5);
  const auto send = [&] {
    grpc::ClientContext context;
    v1::UpdateSessionResponse response;
    return stub().UpdateSession(&context, update, &response);
  };
  ExpectField(send(), "update_mask");
  update.mutable_update_mask()->add_paths("policy");
  ExpectField(send(), "update_mask");
  update.mutable_update_mask()->set_paths(0, "budget");
  EXPECT_TRUE(send().ok());
  update.clear_budget();
  ExpectField(send(), "budget");
}

TEST_F(ErrorsTest, PagesAreChecked) {
  StartServer();
  v1::ListSessionsRequest list;
  const auto send = [&] {
    grpc::ClientContext context;
    v1::ListSessionsResponse response;
    return stub().ListSessions(&context, list, &response);
  };
  list.set_page_size(1001);
  ExpectField(send(), "page_size");
  list.set_page_size(-1);
  ExpectField(send(), "page_size");
  list.set_page_size(0);
  list.set_page_token("../../etc/passwd");
  ExpectField(send(), "page_token");
}

TEST_F(ErrorsTest, MessagesHaveTheirLimits) {
  StartServer();
  v1::TokenizeRequest tokenize;
  const auto send = [&] {
    grpc::ClientContext context;
    v1::TokenizeResponse response;
    return stub().Tokenize(&context, tokenize, &response);
  };
  tokenize.set_text(std::string(64 << 10, 'a'));
  EXPECT_TRUE(send().ok());
  tokenize.set_text(std::string((64 << 10) + 100, 'a'));
  ExpectField(send(), "request");
  const std::string id = OpenOrDie(stub());
  ExpectField(RunTurn(stub(), TextTurn(id, std::string((8 << 20) + 1, 'a'), 1)).status, "request");
}

TEST_F(ErrorsTest, TooLongForTheModelIsNotTooLongForTheServer) {
  StartServer();
  const grpc::Status status =
      RunTurn(stub(), TextTurn(OpenOrDie(stub()), std::string(1 << 20, 'a'), 1)).status;
  ExpectReason(status, StatusCode::INVALID_ARGUMENT, "PROMPT_TOO_LONG");
}

TEST_F(ErrorsTest, RequestIdComesBack) {
  StartServer();
  grpc::ClientContext context;
  context.AddMetadata("x-request-id", "abc-123");
  v1::GetModelResponse response;
  ASSERT_TRUE(stub().GetModel(&context, {}, &response).ok());
  const auto& trailers = context.GetServerTrailingMetadata();
  ASSERT_NE(trailers.find("x-request-id"), trailers.end());
  EXPECT_EQ(trailers.find("x-request-id")->second, "abc-123");
}

// gRPC retries only while no initial metadata came: that a refusal is retried shows that it was
// trailers-only.
TEST_F(ErrorsTest, RefusalsAreTrailersOnly) {
  StartServer();
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(R"({"methodConfig": [{"name": [{}], "retryPolicy": {
      "maxAttempts": 3, "initialBackoff": "0.01s", "maxBackoff": "0.01s", "backoffMultiplier": 1,
      "retryableStatusCodes": ["NOT_FOUND"]}}]})");
  const auto channel = grpc::CreateCustomChannel(server().runtime().address(),
                                                 grpc::InsecureChannelCredentials(), arguments);
  const auto retrying = v1::InferenceService::NewStub(channel);
  const Turn turn = RunTurn(*retrying, TextTurn(kUnknownId, "hi", 1));
  EXPECT_EQ(turn.status.error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(Metric("requests_total", R"(code="NOT_FOUND")"), 3);
}

}  // namespace
}  // namespace concertina::testing
