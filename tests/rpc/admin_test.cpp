// What operators can do, and clients cannot.

#include <thread>

#include "concertina/v1/admin_service.grpc.pb.h"
#include "grpcpp/create_channel.h"
#include "server/rpc/admin_server.h"
#include "tests/rpc/raw_call.h"
#include "tests/rpc/server_fixture.h"

namespace concertina::testing {
namespace {

using grpc::StatusCode;
using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kChannelz[] = "/grpc.channelz.v1.Channelz/GetServers";
constexpr char kGetLoad[] = "/concertina.v1.AdminService/GetLoad";

std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

// Both servers on one engine, as the runtime puts them together.
class AdminTest : public ServerTest {
 protected:
  void SetUp() override {
    registry_ = std::make_unique<MetricsRegistry>("test");
    metrics_ = std::make_unique<RpcMetrics>(*registry_);
    EngineOptions options = TinyLlavaConfig().engine;
    auto engine = Engine::Start(options, model(), std::make_shared<EngineObserver>(),
                                std::make_shared<Clock>());
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
    RpcServerOptions rpc;
    rpc.listen = "127.0.0.1:0";
    auto server = RpcServer::Start(std::move(rpc), *engine_, *metrics_);
    ASSERT_TRUE(server.ok()) << server.status();
    rpc_ = *std::move(server);
    auto admin = AdminServer::Start({.listen = "127.0.0.1:0"}, *engine_, *metrics_, *rpc_);
    ASSERT_TRUE(admin.ok()) << admin.status();
    admin_ = *std::move(admin);
    clients_ = Connect(rpc_->address());
    operators_ = Connect(admin_->address());
    inference_ = v1::InferenceService::NewStub(clients_);
    stub_ = v1::AdminService::NewStub(operators_);
  }

  v1::GetLoadResponse Load() {
    grpc::ClientContext context;
    v1::GetLoadResponse load;
    const grpc::Status status = stub_->GetLoad(&context, {}, &load);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return load;
  }
  grpc::Status Drain(int64_t seconds, v1::DrainResponse* response) {
    grpc::ClientContext context;
    v1::DrainRequest request;
    if (seconds != 0) request.mutable_timeout()->set_seconds(seconds);
    return stub_->Drain(&context, request, response);
  }
  grpc::Status Evict(const std::string& id, v1::EvictSessionResponse* response) {
    grpc::ClientContext context;
    v1::EvictSessionRequest request;
    request.set_session_id(id);
    return stub_->EvictSession(&context, request, response);
  }

  std::unique_ptr<MetricsRegistry> registry_;
  std::unique_ptr<RpcMetrics> metrics_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<RpcServer> rpc_;
  std::unique_ptr<AdminServer> admin_;
  std::shared_ptr<grpc::Channel> clients_;
  std::shared_ptr<grpc::Channel> operators_;
  std::unique_ptr<v1::InferenceService::Stub> inference_;
  std::unique_ptr<v1::AdminService::Stub> stub_;
};

TEST_F(AdminTest, ClientsSeeNoneOfIt) {
  EXPECT_EQ(CallRaw(clients_, kChannelz, "").error_code(), StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(CallRaw(clients_, kGetLoad, "").error_code(), StatusCode::UNIMPLEMENTED);
  const std::string services = ReflectedServices(clients_);
  EXPECT_THAT(services, HasSubstr("concertina.v1.InferenceService"));
  EXPECT_THAT(services, Not(HasSubstr("channelz")));
  EXPECT_THAT(services, Not(HasSubstr("AdminService")));
}

TEST_F(AdminTest, OperatorsSeeChannelzHealthAndReflection) {
  std::string servers;
  grpc::ClientContext context;
  EXPECT_TRUE(CallRaw(operators_, kChannelz, "", &context, &servers).ok());
  EXPECT_FALSE(servers.empty());
  const std::string services = ReflectedServices(operators_);
  for (const char* service : {"concertina.v1.AdminService", "grpc.channelz.v1.Channelz"}) {
    EXPECT_THAT(services, HasSubstr(service));
  }
  EXPECT_THAT(services, Not(HasSubstr("InferenceService")));
  for (const char* service : {"", "concertina.v1.AdminService", "liveness", "readiness"}) {
    EXPECT_EQ(HealthOf(operators_, service), 1) << service;
  }
  EXPECT_EQ(CallRaw(operators_, "/concertina.v1.InferenceService/GetModel", "").error_code(),
            StatusCode::UNIMPLEMENTED);
}

TEST_F(AdminTest, LoadIsThatOfTheMoment) {
  const std::string id = OpenOrDie(*inference_);
  const Turn turn = RunTurn(*inference_, TextTurn(id, "Something to keep.", 4));
  ASSERT_TRUE(turn.status.ok()) << turn.status.error_message();
  v1::GetLoadResponse load;
  EXPECT_TRUE(Eventually([&] {
    load = Load();
    return load.sessions_active() == 1 && load.pool_used_bytes() > 0 && load.calls_in_flight() == 0;
  }));
  EXPECT_EQ(load.sessions_active(), 1);
  EXPECT_EQ(load.max_sessions(), 1024);
  EXPECT_EQ(load.max_running(), 64);
  EXPECT_EQ(load.max_waiting(), 256);
  EXPECT_EQ(load.pool_capacity_bytes(), engine_->gauges().pool_capacity_bytes);
  EXPECT_EQ(load.weights_bytes(), model()->weight_bytes);
  EXPECT_GT(load.resident_bytes(), 1 << 20);
  EXPECT_GT(load.pool_used_bytes(), 0);
  EXPECT_GT(load.transcript_bytes(), 0);
  EXPECT_FALSE(load.draining());
  EXPECT_EQ(load.calls_in_flight(), 0);
}

TEST_F(AdminTest, AnEvictedSessionAnswersTheSame) {
  const std::string evicted = OpenOrDie(*inference_);
  const std::string kept = OpenOrDie(*inference_);
  for (const std::string& id : {evicted, kept}) {
    ASSERT_TRUE(RunTurn(*inference_, TextTurn(id, "Remember seven.", 8)).status.ok());
  }
  v1::EvictSessionResponse response;
  const grpc::Status status = Evict(evicted, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_GT(response.freed_bytes(), 0);
  grpc::ClientContext context;
  v1::GetSessionRequest get;
  get.set_session_id(evicted);
  v1::GetSessionResponse got;
  ASSERT_TRUE(inference_->GetSession(&context, get, &got).ok());
  EXPECT_TRUE(got.session().evicted());
  const Turn again = RunTurn(*inference_, TextTurn(evicted, "Which number?", 8));
  const Turn control = RunTurn(*inference_, TextTurn(kept, "Which number?", 8));
  ASSERT_TRUE(again.status.ok()) << again.status.error_message();
  EXPECT_EQ(again.token_ids, control.token_ids);
}

TEST_F(AdminTest, EvictionIsRefusedWithReasons) {
  v1::EvictSessionResponse response;
  EXPECT_EQ(DetailsOf(Evict("mine", &response)).field, "session_id");
  const grpc::Status unknown = Evict("0b9e4c1e-57d0-4b8a-9c3e-3f2b6a7d8e90", &response);
  EXPECT_EQ(unknown.error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(DetailsOf(unknown).reason, "SESSION_NOT_FOUND");
  const std::string id = OpenOrDie(*inference_);
  grpc::ClientContext context;
  const auto reader = inference_->Generate(&context, LongTurn(id));
  v1::GenerateResponse event;
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_EQ(DetailsOf(Evict(id, &response)).reason, "TURN_IN_FLIGHT");
  context.TryCancel();
  while (reader->Read(&event)) {
  }
  reader->Finish();
}

TEST_F(AdminTest, ADrainWaitsForTurnsAndTurnsReadinessAtOnce) {
  const std::string id = OpenOrDie(*inference_);
  grpc::ClientContext context;
  const auto reader = inference_->Generate(&context, LongTurn(id));
  v1::GenerateResponse event;
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_TRUE(Eventually([&] { return Load().requests_running() == 1; }));
  v1::DrainResponse response;
  ASSERT_TRUE(Drain(0, &response).ok());
  EXPECT_EQ(response.requests_running(), 1);
  for (const auto& channel : {clients_, operators_}) {
    EXPECT_EQ(HealthOf(channel, "readiness"), 2);
    EXPECT_EQ(HealthOf(channel, "liveness"), 1);
  }
  EXPECT_TRUE(Load().draining());
  grpc::ClientContext refused_context;
  v1::OpenSessionResponse opened;
  const grpc::Status refused = inference_->OpenSession(&refused_context, {}, &opened);
  EXPECT_EQ(refused.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(DetailsOf(refused).reason, "DRAINING");
  // Waiting drains hold no thread that calls need.
  std::vector<std::thread> waiting;
  std::atomic<int> answered{0};
  for (int i = 0; i < 32; ++i) {
    waiting.emplace_back([&] {
      v1::DrainResponse drained;
      if (Drain(60, &drained).ok() && drained.requests_running() == 0) ++answered;
    });
  }
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_EQ(Load().requests_running(), 1);
  EXPECT_EQ(answered, 0);
  context.TryCancel();
  while (reader->Read(&event)) {
  }
  reader->Finish();
  for (std::thread& thread : waiting) thread.join();
  EXPECT_EQ(answered, 32);
}

TEST_F(AdminTest, ADrainGivesUpAtItsTimeout) {
  const std::string id = OpenOrDie(*inference_);
  grpc::ClientContext context;
  const auto reader = inference_->Generate(&context, LongTurn(id));
  v1::GenerateResponse event;
  ASSERT_TRUE(reader->Read(&event));
  const auto start = std::chrono::steady_clock::now();
  v1::DrainResponse response;
  ASSERT_TRUE(Drain(1, &response).ok());
  EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(990));
  EXPECT_EQ(response.requests_running(), 1);
  // The end of the server is not held up by a drain that waits.
  std::thread waiting([&] {
    v1::DrainResponse last;
    Drain(3600, &last);
  });
  std::this_thread::sleep_for(milliseconds(50));
  admin_->Shutdown(milliseconds(500));
  waiting.join();
  context.TryCancel();
  while (reader->Read(&event)) {
  }
  reader->Finish();
}

TEST_F(AdminTest, TimeoutsAreChecked) {
  v1::DrainResponse response;
  for (const int64_t seconds : {int64_t{-1}, int64_t{3601}, std::numeric_limits<int64_t>::max(),
                                std::numeric_limits<int64_t>::min()}) {
    const grpc::Status status = Drain(seconds, &response);
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(DetailsOf(status).field, "timeout");
  }
  EXPECT_FALSE(Load().draining());
}

TEST_F(AdminTest, ABusyPortIsAnError) {
  const auto second = AdminServer::Start({.listen = admin_->address()}, *engine_, *metrics_, *rpc_);
  ASSERT_FALSE(second.ok());
  EXPECT_TRUE(AdminServer::IsOff(""));
  EXPECT_TRUE(AdminServer::IsOff("none"));
  EXPECT_FALSE(AdminServer::IsOff("127.0.0.1:0"));
}

}  // namespace
}  // namespace concertina::testing
