// Refusals are counted once and logged with their ids, and their texts tell nothing of the machine.

#include <mutex>
#include <regex>

#include "grpcpp/create_channel.h"
#include "server/rpc/rpc_server.h"
#include "tests/rpc/raw_call.h"
#include "tests/rpc/server_fixture.h"

namespace concertina::testing {
namespace {

constexpr char kUnknownId[] = "0b9e4c1e-57d0-4b8a-9c3e-3f2b6a7d8e90";

class RejectionsTest : public ServerTest {
 protected:
  grpc::Status Get(const std::string& id) {
    grpc::ClientContext context;
    v1::GetSessionRequest request;
    request.set_session_id(id);
    v1::GetSessionResponse response;
    return stub().GetSession(&context, request, &response);
  }
  double Rejected(const std::string& reason) {
    return Metric("requests_rejected_total", "reason=\"" + reason + "\"");
  }
};

TEST_F(RejectionsTest, EachIsCountedOnce) {
  StartServer([](ServerConfig& config) { config.engine.max_sessions = 1; });
  const std::string id = OpenOrDie(stub());
  // By the engine before and after queueing, by the edge, by the parser.
  grpc::ClientContext context;
  v1::OpenSessionResponse opened;
  stub().OpenSession(&context, {}, &opened);
  EXPECT_EQ(Rejected("SESSION_LIMIT"), 1);
  Get(kUnknownId);
  RunTurn(stub(), TextTurn(kUnknownId, "hi", 1));
  EXPECT_EQ(Rejected("SESSION_NOT_FOUND"), 2);
  RunTurn(stub(), TextTurn(id, std::string(1 << 20, 'a'), 1));
  EXPECT_EQ(Rejected("PROMPT_TOO_LONG"), 1);
  v1::GenerateRequest wrong_turn = TextTurn(id, "hi", 1);
  wrong_turn.set_expected_turn(3);
  RunTurn(stub(), wrong_turn);
  EXPECT_EQ(Rejected("TURN_MISMATCH"), 1);
  v1::GenerateRequest picture = TextTurn(id, "hi", 1);
  picture.add_parts()->mutable_image()->set_sha256(std::string(64, 'a'));
  RunTurn(stub(), picture);
  EXPECT_EQ(Rejected("IMAGE_NOT_FOUND"), 1);
  Get("mine");
  EXPECT_EQ(Rejected("INVALID"), 1);
  // What works, or what the client ends, is no refusal.
  RunTurn(stub(), TextTurn(id, "hi", 2));
  grpc::ClientContext cancelled;
  const auto reader = stub().Generate(&cancelled, LongTurn(id));
  v1::GenerateResponse event;
  reader->Read(&event);
  cancelled.TryCancel();
  while (reader->Read(&event)) {
  }
  reader->Finish();
  ASSERT_TRUE(BecomesIdle(id));
  EXPECT_EQ(Rejected(""), 0);
  EXPECT_EQ(Rejected("SESSION_CLOSED"), 0);
}

struct Entry {
  std::string method, code, reason, request_id, session_id;
};

TEST_F(RejectionsTest, LogEntriesHaveTheirIds) {
  MetricsRegistry registry("test");
  RpcMetrics metrics(registry);
  auto engine = Engine::Start(TinyLlavaConfig().engine, model(), std::make_shared<EngineObserver>(),
                              std::make_shared<Clock>());
  ASSERT_TRUE(engine.ok()) << engine.status();
  std::mutex mutex;
  std::vector<Entry> entries;
  RpcServerOptions options;
  options.listen = "127.0.0.1:0";
  options.log = [&](const CallLogEntry& entry) {
    const std::lock_guard lock(mutex);
    entries.push_back({std::string(entry.method), std::string(entry.code),
                       std::string(entry.reason), std::string(entry.request_id),
                       std::string(entry.session_id)});
  };
  auto server = RpcServer::Start(std::move(options), **engine, metrics);
  ASSERT_TRUE(server.ok()) << server.status();
  const auto channel =
      grpc::CreateChannel((*server)->address(), grpc::InsecureChannelCredentials());
  const auto client = v1::InferenceService::NewStub(channel);
  const std::string id = OpenOrDie(*client);
  RunTurn(*client, TextTurn(id, "hi", 1));
  // Refused before the body is read: the id is that of the metadata.
  grpc::ClientContext context;
  context.AddMetadata("x-session-id", kUnknownId);
  context.AddMetadata("x-request-id", "mine-1");
  CallRaw(channel, "/concertina.v1.InferenceService/GetSession", "\x0a\x7f", &context);
  (*server)->Shutdown(std::chrono::milliseconds(1000));
  ASSERT_EQ(entries.size(), 3U);
  EXPECT_EQ(entries[0].method, "OpenSession");
  EXPECT_EQ(entries[0].session_id, id);  // chosen by the server
  EXPECT_EQ(entries[1].method, "Generate");
  EXPECT_EQ(entries[1].session_id, id);
  EXPECT_EQ(entries[1].code, "OK");
  EXPECT_EQ(entries[2].reason, "request");
  EXPECT_EQ(entries[2].session_id, kUnknownId);
  EXPECT_EQ(entries[2].request_id, "mine-1");
  for (const Entry& entry : entries) EXPECT_FALSE(entry.request_id.empty());
  EXPECT_NE(entries[0].request_id, entries[1].request_id);
}

// Everything above and more, once, looking at the texts only.
TEST_F(RejectionsTest, TextsTellNothingOfTheMachine) {
  StartServer();
  const std::string id = OpenOrDie(stub());
  std::vector<grpc::Status> refusals{
      Get("../../etc/passwd"), Get(kUnknownId),
      CallRaw(server().channel(), "/concertina.v1.InferenceService/GetSession", "\x0a\x7f"),
      RunTurn(stub(), TextTurn(id, std::string(1 << 20, 'a'), 1)).status};
  for (const std::string& file : {std::string("GIF89a"), std::string("\x89PNG\r\n\x1a\n", 8),
                                  std::string(1000, '\xff'), std::string("\xff\xd8\xff\xe0", 4)}) {
    v1::GenerateRequest picture = TextTurn(id, "hi", 1);
    picture.add_parts()->mutable_image()->set_data(file);
    refusals.push_back(RunTurn(stub(), picture).status);
  }
  v1::OpenSessionRequest open;
  open.mutable_policy()->set_name("/root/secret");
  grpc::ClientContext context;
  v1::OpenSessionResponse opened;
  refusals.push_back(stub().OpenSession(&context, open, &opened));
  const std::regex revealing(R"(0x[0-9a-f]|/[a-z]+/|\.cpp|\.h:|opencv|protobuf|absl|std::|torch)",
                             std::regex::icase);
  for (const grpc::Status& status : refusals) {
    EXPECT_FALSE(status.ok());
    EXPECT_FALSE(std::regex_search(status.error_message(), revealing)) << status.error_message();
    EXPECT_FALSE(status.error_message().empty());
  }
}

}  // namespace
}  // namespace concertina::testing
