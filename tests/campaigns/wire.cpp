#include "tests/campaigns/wire.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>

#include "client/errors.h"
#include "google/protobuf/wrappers.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/generic/generic_stub.h"
#include "tests/campaigns/campaign.h"

namespace concertina::testing {
namespace {

constexpr std::chrono::seconds kSettleLimit{2};
constexpr std::chrono::seconds kHealthLimit{2};

void SetTimeout(grpc::ClientContext& context, std::chrono::milliseconds timeout) {
  context.set_deadline(std::chrono::system_clock::now() + timeout);
}

}  // namespace

Wire::Wire(const std::string& target, const std::string& service_config) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1'000);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  if (!service_config.empty()) arguments.SetServiceConfigJSON(service_config);
  if (service_config.empty()) arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  channel_ = grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
  stub_ = v1::InferenceService::NewStub(channel_);
}

std::optional<int> Wire::Health(const std::string& service) const {
  // The wrappers have the wire format of HealthCheckRequest and HealthCheckResponse.
  grpc::TemplatedGenericStub<google::protobuf::StringValue, google::protobuf::Int32Value> stub(
      channel_);
  grpc::ClientContext context;
  SetTimeout(context, kHealthLimit);
  google::protobuf::StringValue request;
  request.set_value(service);
  google::protobuf::Int32Value response;
  std::promise<bool> done;
  stub.UnaryCall(&context, "/grpc.health.v1.Health/Check", grpc::StubOptions(), &request, &response,
                 [&done](const grpc::Status& status) { done.set_value(status.ok()); });
  if (!done.get_future().get()) return std::nullopt;
  return response.value();
}

Outcome OutcomeOf(const grpc::Status& status, const grpc::ClientContext& context) {
  Outcome outcome{.status = client::FromGrpc(status), .quota_subject = {}, .pushback_ms = {}};
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  for (const google::protobuf::Any& any : details.details()) {
    google::rpc::QuotaFailure quota;
    if (any.UnpackTo(&quota) && quota.violations_size() > 0) {
      outcome.quota_subject = quota.violations(0).subject();
    }
  }
  const auto& trailers = context.GetServerTrailingMetadata();
  if (const auto found = trailers.find("grpc-retry-pushback-ms"); found != trailers.end()) {
    outcome.pushback_ms.assign(found->second.data(), found->second.size());
  }
  return outcome;
}

WireTurn Generate(v1::InferenceService::Stub& stub, const v1::GenerateRequest& request,
                  grpc::ClientContext& context, const OnEvent& on_event) {
  WireTurn turn;
  const auto reader = stub.Generate(&context, request);
  v1::GenerateResponse event;
  while (reader->Read(&event)) {
    turn.started |= event.has_started();
    turn.folded |= event.has_folded();
    turn.completed |= event.has_completed();
    turn.text += event.delta().text();
    turn.tokens.insert(turn.tokens.end(), event.delta().token_ids().begin(),
                       event.delta().token_ids().end());
    if (on_event) on_event(event, turn);
  }
  turn.status = reader->Finish();
  return turn;
}

WireTurn Generate(v1::InferenceService::Stub& stub, const v1::GenerateRequest& request) {
  grpc::ClientContext context;
  return Generate(stub, request, context);
}

v1::GenerateRequest TurnOf(const std::string& session_id, const std::string& text,
                           int32_t max_tokens) {
  v1::GenerateRequest request;
  request.set_session_id(session_id);
  request.add_parts()->set_text(text);
  request.set_max_tokens(max_tokens);
  request.set_ignore_eos(true);
  return request;
}

std::string OpenSession(const Wire& wire, const v1::OpenSessionRequest& request) {
  grpc::ClientContext context;
  v1::OpenSessionResponse response;
  const auto status = wire.stub().OpenSession(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_code() << " " << status.error_message();
  return response.session().session_id();
}

void CloseSession(const Wire& wire, const std::string& id) {
  grpc::ClientContext context;
  v1::CloseSessionRequest request;
  request.set_session_id(id);
  v1::CloseSessionResponse response;
  const auto status = wire.stub().CloseSession(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_code() << " " << status.error_message();
}

v1::Session GetSession(const Wire& wire, const std::string& id) {
  grpc::ClientContext context;
  v1::GetSessionRequest request;
  request.set_session_id(id);
  v1::GetSessionResponse response;
  const auto status = wire.stub().GetSession(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_code() << " " << status.error_message();
  return response.session();
}

v1::Session IdleSession(const Wire& wire, const std::string& id) {
  v1::Session session;
  const bool idle = Eventually(kSettleLimit, [&] {
    session = GetSession(wire, id);
    return session.state() == v1::SESSION_STATE_IDLE;
  });
  EXPECT_TRUE(idle) << "the turn of " << id << " goes on";
  return session;
}

}  // namespace concertina::testing
