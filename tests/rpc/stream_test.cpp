// Streams that do not run to their end: cancel, deadline, close, stop, limits.

#include <atomic>
#include <thread>

#include "grpcpp/create_channel.h"
#include "tests/rpc/server_fixture.h"

namespace concertina::testing {
namespace {

using grpc::StatusCode;
using std::chrono::milliseconds;

// A Generate call whose first delta has arrived.
class OpenStream {
 public:
  OpenStream(v1::InferenceService::Stub& stub, const v1::GenerateRequest& request)
      : reader_(stub.Generate(&context_, request)) {
    v1::GenerateResponse event;
    while (!running_ && reader_->Read(&event)) running_ = event.has_delta();
  }
  bool running() const { return running_; }
  grpc::ClientContext& context() { return context_; }
  grpc::Status Finish() {
    v1::GenerateResponse event;
    while (reader_->Read(&event)) completed_ = completed_ || event.has_completed();
    return reader_->Finish();
  }
  bool completed() const { return completed_; }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader_;
  bool running_ = false;
  bool completed_ = false;
};

class StreamTest : public ServerTest {
 protected:
  void ExpectUsable(const std::string& id) {
    const Turn turn = RunTurn(stub(), TextTurn(id, "Still there?", 4));
    EXPECT_TRUE(turn.status.ok()) << turn.status.error_message();
    EXPECT_NE(turn.completed(), nullptr);
  }
};

TEST_F(StreamTest, CancelStopsSoonAndKeepsTheSession) {
  StartServer();
  const std::string id = OpenOrDie(stub());
  OpenStream stream(stub(), LongTurn(id));
  ASSERT_TRUE(stream.running());
  EXPECT_EQ(SessionOrDie(id).state(), v1::SESSION_STATE_BUSY);
  stream.context().TryCancel();
  EXPECT_EQ(stream.Finish().error_code(), StatusCode::CANCELLED);
  ASSERT_TRUE(BecomesIdle(id));
  EXPECT_LT(SessionOrDie(id).cache().tokens_seen(), 15'000);
  EXPECT_EQ(Metric("generations_finished_total", R"(reason="cancelled")"), 1);
  ExpectUsable(id);
}

TEST_F(StreamTest, DeadlineStopsAndKeepsTheSession) {
  StartServer();
  const std::string id = OpenOrDie(stub());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + milliseconds(600));
  const auto reader = stub().Generate(&context, LongTurn(id));
  v1::GenerateResponse event;
  while (reader->Read(&event)) EXPECT_FALSE(event.has_completed());
  EXPECT_EQ(reader->Finish().error_code(), StatusCode::DEADLINE_EXCEEDED);
  ASSERT_TRUE(BecomesIdle(id));
  EXPECT_EQ(Metric("generations_finished_total", R"(reason="deadline")"), 1);
  ExpectUsable(id);
}

TEST_F(StreamTest, OneTurnAtATime) {
  StartServer();
  const std::string id = OpenOrDie(stub());
  OpenStream stream(stub(), LongTurn(id));
  ASSERT_TRUE(stream.running());
  const grpc::Status second = RunTurn(stub(), TextTurn(id, "me too", 1)).status;
  EXPECT_EQ(second.error_code(), StatusCode::ABORTED);
  EXPECT_EQ(DetailsOf(second).reason, "TURN_IN_FLIGHT");
  stream.context().TryCancel();
  stream.Finish();
  ASSERT_TRUE(BecomesIdle(id));
  ExpectUsable(id);
}

TEST_F(StreamTest, OtherSessionsGoOnMeanwhile) {
  StartServer();
  OpenStream stream(stub(), LongTurn(OpenOrDie(stub())));
  ASSERT_TRUE(stream.running());
  ExpectUsable(OpenOrDie(stub()));
  stream.context().TryCancel();
  EXPECT_EQ(stream.Finish().error_code(), StatusCode::CANCELLED);
}

TEST_F(StreamTest, CloseEndsATurnInFlight) {
  StartServer();
  const std::string id = OpenOrDie(stub());
  OpenStream stream(stub(), LongTurn(id));
  ASSERT_TRUE(stream.running());
  v1::CloseSessionRequest request;
  request.set_session_id(id);
  v1::CloseSessionResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(stub().CloseSession(&context, request, &response).ok());
  EXPECT_TRUE(response.existed());
  const grpc::Status status = stream.Finish();
  EXPECT_EQ(status.error_code(), StatusCode::CANCELLED);
  EXPECT_EQ(DetailsOf(status).reason, "SESSION_CLOSED");
}

TEST_F(StreamTest, ManyClientsMayVanishAtOnce) {
  StartServer();
  std::vector<std::thread> clients;
  std::atomic<int> cancelled{0};
  for (int i = 0; i < 16; ++i) {
    clients.emplace_back([this, i, &cancelled] {
      const std::string id = OpenOrDie(stub());
      grpc::ClientContext context;
      const auto reader = stub().Generate(&context, LongTurn(id));
      v1::GenerateResponse event;
      for (int read = 0; read < i; ++read) reader->Read(&event);
      context.TryCancel();
      while (reader->Read(&event)) {
      }
      if (reader->Finish().error_code() == StatusCode::CANCELLED) ++cancelled;
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(cancelled, 16);
  const auto idle = [&] {
    return server().runtime().engine().gauges().requests_running == 0 &&
           server().runtime().rpc().calls_in_flight() == 0;
  };
  EXPECT_TRUE(Eventually(idle));
}

TEST_F(StreamTest, CallsInFlightAreBounded) {
  StartServer([](ServerConfig& config) { config.limits.max_calls = 1; });
  const std::string id = OpenOrDie(stub());
  OpenStream stream(stub(), LongTurn(id));
  ASSERT_TRUE(stream.running());
  grpc::ClientContext context;
  v1::GetModelResponse model;
  const grpc::Status refused = stub().GetModel(&context, {}, &model);
  EXPECT_EQ(refused.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(DetailsOf(refused).reason, "CALL_LIMIT");
  stream.context().TryCancel();
  stream.Finish();
}

TEST_F(StreamTest, AClientThatTakesNothingIsLetGo) {
  StartServer([](ServerConfig& config) { config.limits.stall_timeout = milliseconds(1000); });
  const std::string id = OpenOrDie(stub());
  v1::GenerateRequest request = LongTurn(id);
  request.set_logprobs(true);
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1024);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  const auto narrow = v1::InferenceService::NewStub(grpc::CreateCustomChannel(
      server().runtime().address(), grpc::InsecureChannelCredentials(), arguments));
  grpc::ClientContext context;
  const auto reader = narrow->Generate(&context, request);
  // Nothing is read: once the transport's window is full, the server's write does not end.
  EXPECT_TRUE(Eventually([&] { return Metric("requests_rejected_total", "CLIENT_STALLED") > 0; }));
  EXPECT_EQ(Metric("requests_rejected_total", "CLIENT_STALLED"), 1);
  ASSERT_TRUE(BecomesIdle(id));
  context.TryCancel();
  reader->Finish();
  ExpectUsable(id);
}

TEST_F(StreamTest, GracefulStopLetsATurnFinish) {
  StartServer();
  const std::string id = OpenOrDie(stub());
  v1::GenerateRequest request = LongTurn(id);
  request.set_max_tokens(300);
  OpenStream stream(stub(), request);
  ASSERT_TRUE(stream.running());
  std::thread stopping([this] { server().runtime().Stop(milliseconds(60'000)); });
  EXPECT_TRUE(stream.Finish().ok());
  EXPECT_TRUE(stream.completed());
  stopping.join();
}

TEST_F(StreamTest, DrainingRefusesNewWork) {
  StartServer();
  const std::string id = OpenOrDie(stub());
  OpenStream stream(stub(), LongTurn(id));
  ASSERT_TRUE(stream.running());
  std::thread stopping([this] { server().runtime().Stop(milliseconds(3000)); });
  grpc::Status refused;
  EXPECT_TRUE(Eventually([&] {
    grpc::ClientContext context;
    v1::OpenSessionResponse response;
    refused = stub().OpenSession(&context, {}, &response);
    return !refused.ok();
  }));
  EXPECT_EQ(refused.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(DetailsOf(refused).reason, "DRAINING");
  // The grace is shorter than the turn: it is cancelled, and the stop ends.
  EXPECT_FALSE(stream.Finish().ok());
  stopping.join();
}

}  // namespace
}  // namespace concertina::testing
