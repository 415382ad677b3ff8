#include "tests/support/server/in_process_server.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <utility>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/create_channel.h"

namespace concertina::testing {
namespace {

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "test set-up failed: %s\n", what.c_str());
  std::abort();
}

}  // namespace

absl::StatusOr<std::unique_ptr<InProcessServer>> InProcessServer::Start(
    ServerConfig config, std::shared_ptr<const Model> model, bool with_metrics) {
  std::unique_ptr<InProcessServer> server(new InProcessServer);
  config.listen = "127.0.0.1:0";
  config.admin_listen = "";
  config.metrics_listen = with_metrics ? "127.0.0.1:0" : "";
  auto runtime = Runtime::Start(config, server->log_, std::move(model));
  if (!runtime.ok()) return runtime.status();
  server->runtime_ = *std::move(runtime);
  grpc::ChannelArguments arguments;
  // Channels to one address would otherwise share a connection, also across servers on a reused
  // port.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  server->channel_ = grpc::CreateCustomChannel(server->runtime_->address(),
                                               grpc::InsecureChannelCredentials(), arguments);
  server->stub_ = v1::InferenceService::NewStub(server->channel_);
  return server;
}

ServerConfig TinyLlavaConfig() {
  ServerConfig config;
  config.model = CONCERTINA_SOURCE_DIR "/tests/goldens/llava15-tiny";
  config.model_name = "llava15-tiny";
  config.weights = MatrixType::kF32;
  config.engine.default_entry_type = EntryType::kF32;
  config.engine.pool_bytes = 16 << 20;
  config.engine.threads = 1;
  return config;
}

ErrorDetails DetailsOf(const grpc::Status& status) {
  ErrorDetails details;
  google::rpc::Status rpc_status;
  if (!rpc_status.ParseFromString(status.error_details())) return details;
  for (const google::protobuf::Any& any : rpc_status.details()) {
    if (google::rpc::BadRequest bad; any.UnpackTo(&bad) && bad.field_violations_size() > 0) {
      details.field = bad.field_violations(0).field();
    } else if (google::rpc::ErrorInfo info; any.UnpackTo(&info)) {
      details.reason = info.reason();
      details.domain = info.domain();
    } else if (google::rpc::QuotaFailure quota;
               any.UnpackTo(&quota) && quota.violations_size() > 0) {
      details.quota_subject = quota.violations(0).subject();
    } else if (google::rpc::RetryInfo retry; any.UnpackTo(&retry)) {
      details.retry_ms =
          retry.retry_delay().seconds() * 1000 + retry.retry_delay().nanos() / 1'000'000;
    }
  }
  return details;
}

std::string OpenOrDie(v1::InferenceService::Stub& stub, const v1::OpenSessionRequest& request) {
  grpc::ClientContext context;
  v1::OpenSessionResponse response;
  const grpc::Status status = stub.OpenSession(&context, request, &response);
  if (!status.ok()) Die("OpenSession: " + status.error_message());
  return response.session().session_id();
}

v1::GenerateRequest TextTurn(const std::string& session_id, const std::string& text,
                             int32_t max_tokens) {
  v1::GenerateRequest request;
  request.set_session_id(session_id);
  request.add_parts()->set_text(text);
  request.set_max_tokens(max_tokens);
  return request;
}

const v1::Started* Turn::started() const {
  for (const auto& event : events) {
    if (event.has_started()) return &event.started();
  }
  return nullptr;
}

const v1::Folded* Turn::folded() const {
  for (const auto& event : events) {
    if (event.has_folded()) return &event.folded();
  }
  return nullptr;
}

const v1::Completed* Turn::completed() const {
  for (const auto& event : events) {
    if (event.has_completed()) return &event.completed();
  }
  return nullptr;
}

Turn RunTurn(v1::InferenceService::Stub& stub, const v1::GenerateRequest& request) {
  grpc::ClientContext context;
  Turn turn;
  const auto reader = stub.Generate(&context, request);
  v1::GenerateResponse event;
  while (reader->Read(&event)) {
    turn.text += event.delta().text();
    turn.token_ids.insert(turn.token_ids.end(), event.delta().token_ids().begin(),
                          event.delta().token_ids().end());
    turn.events.push_back(event);
  }
  turn.status = reader->Finish();
  return turn;
}

std::string ReadFileOrDie(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  if (!file) Die("cannot read " + path);
  return std::move(bytes).str();
}

}  // namespace concertina::testing
