// Nothing that a client or the model says is ever logged, whatever the level and however it ends.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

#include "concertina/v1/inference_service.grpc.pb.h"
#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "tests/integration/server_process.h"

namespace concertina::testing {
namespace {

constexpr char kSecret[] = "xylophone-7731";

class LogSecrecyTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    std::vector<std::string> flags = TinyLlava();
    flags.insert(flags.end(), {"--log-level", "debug", "--log-format", GetParam()});
    auto server = ServerProcess::Start(flags);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    stub_ = v1::InferenceService::NewStub(
        grpc::CreateChannel(server_->target(), grpc::InsecureChannelCredentials()));
  }

  std::string Open(const v1::OpenSessionRequest& request) {
    grpc::ClientContext context;
    context.AddMetadata("x-request-id", "open-request");
    v1::OpenSessionResponse response;
    return stub_->OpenSession(&context, request, &response).ok() ? response.session().session_id()
                                                                 : "";
  }

  grpc::StatusCode Generate(const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    const auto stream = stub_->Generate(&context, request);
    v1::GenerateResponse response;
    while (stream->Read(&response)) {
    }
    return stream->Finish().error_code();
  }

  // A turn full of secrets.
  v1::GenerateRequest Turn(const std::string& session_id) {
    v1::GenerateRequest request;
    request.set_session_id(session_id);
    request.add_parts()->set_text(kSecret);
    request.add_stop(kSecret);
    request.set_max_tokens(4);
    return request;
  }

  void ProvokeErrors(const std::string& id) {
    using grpc::StatusCode;
    auto picture = Turn(id);
    picture.add_parts()->mutable_image()->set_data(std::string("\x89PNG\r\n\x1a\n") + kSecret);
    EXPECT_EQ(Generate(picture), StatusCode::INVALID_ARGUMENT);
    auto reference = Turn(id);
    reference.add_parts()->mutable_image()->set_sha256(kSecret);
    EXPECT_EQ(Generate(reference), StatusCode::INVALID_ARGUMENT);
    auto number = Turn(id);
    number.mutable_sampling()->set_top_p(7);
    EXPECT_EQ(Generate(number), StatusCode::INVALID_ARGUMENT);
    auto late = Turn(id);
    late.set_expected_turn(99);
    EXPECT_EQ(Generate(late), StatusCode::ABORTED);
    EXPECT_EQ(Generate(Turn("00000000-0000-4000-8000-000000000000")), StatusCode::NOT_FOUND);
    EXPECT_EQ(Generate(Turn(kSecret)), StatusCode::INVALID_ARGUMENT);
    auto longer = Turn(id);
    for (int i = 0; i < 5000; ++i) longer.mutable_parts(0)->mutable_text()->append(kSecret);
    EXPECT_NE(Generate(longer), StatusCode::OK);
    v1::OpenSessionRequest open;
    open.mutable_policy()->set_name(kSecret);
    EXPECT_EQ(Open(open), "");
    grpc::ClientContext tokenize;
    tokenize.AddMetadata("x-session-id", kSecret);
    v1::TokenizeRequest text;
    text.set_text(kSecret);
    v1::TokenizeResponse tokens;
    EXPECT_TRUE(stub_->Tokenize(&tokenize, text, &tokens).ok());
    grpc::ClientContext score;
    v1::ScoreRequest scored;
    scored.mutable_prompt()->set_text(kSecret);
    v1::ScoreResponse scores;
    EXPECT_FALSE(stub_->Score(&score, scored, &scores).ok());
  }

  std::unique_ptr<ServerProcess> server_;
  std::unique_ptr<v1::InferenceService::Stub> stub_;
};

TEST_P(LogSecrecyTest, NoContentIsLogged) {
  v1::OpenSessionRequest open;
  open.set_system_prompt(kSecret);
  for (const v1::Role role : {v1::ROLE_USER, v1::ROLE_ASSISTANT}) {
    v1::Message* message = open.add_history();
    message->set_role(role);
    message->add_parts()->set_text(kSecret);
  }
  const std::string id = Open(open);
  ASSERT_FALSE(id.empty());
  EXPECT_EQ(Generate(Turn(id)), grpc::StatusCode::OK);
  ProvokeErrors(id);
  const std::string log = server_->Log();
  EXPECT_EQ(log.find(kSecret), std::string::npos) << log;
  EXPECT_EQ(log.find("xylophone"), std::string::npos) << log;
  // What must be there.
  EXPECT_NE(log.find(id), std::string::npos) << log;
  EXPECT_NE(log.find("open-request"), std::string::npos) << log;
  EXPECT_NE(log.find("TURN_MISMATCH"), std::string::npos) << log;
}

INSTANTIATE_TEST_SUITE_P(Formats, LogSecrecyTest, ::testing::Values("text", "json"),
                         [](const auto& format) { return format.param; });

}  // namespace
}  // namespace concertina::testing
