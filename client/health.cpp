// grpc.health.v1 without its generated code: Debian ships no health.proto, and the wrappers of
// Protobuf have the same wire format. HealthCheckRequest is {string service = 1},
// HealthCheckResponse {enum status = 1}.
#include <algorithm>
#include <future>
#include <thread>

#include "client/client.h"
#include "client/connection.h"
#include "client/errors.h"
#include "google/protobuf/wrappers.pb.h"
#include "grpcpp/generic/generic_stub.h"

namespace concertina::client {
namespace {

using Clock = std::chrono::steady_clock;
using HealthStub =
    grpc::TemplatedGenericStub<google::protobuf::StringValue, google::protobuf::Int32Value>;

constexpr char kMethod[] = "/grpc.health.v1.Health/Check";
constexpr int32_t kServing = 1;
constexpr std::chrono::milliseconds kPause{50};

absl::Status CheckOnce(const Connection& connection, const std::string& service,
                       std::chrono::milliseconds timeout) {
  HealthStub stub(connection.channel);
  grpc::ClientContext context;
  SetTimeout(context, timeout);
  google::protobuf::StringValue request;
  request.set_value(service);
  google::protobuf::Int32Value response;
  std::promise<grpc::Status> done;
  stub.UnaryCall(&context, kMethod, grpc::StubOptions(), &request, &response,
                 [&done](grpc::Status status) { done.set_value(std::move(status)); });
  const absl::Status status = FromGrpc(done.get_future().get());
  if (!status.ok()) return status;
  if (response.value() == kServing) return absl::OkStatus();
  return absl::UnavailableError("the server is not serving");
}

}  // namespace

absl::Status Client::CheckHealth(const std::string& service, std::chrono::milliseconds wait) {
  const auto give_up = Clock::now() + wait;
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(give_up - Clock::now());
    const auto timeout = wait.count() == 0
                             ? connection_->options.call_timeout
                             : std::clamp(left, kPause, connection_->options.call_timeout);
    const absl::Status status = CheckOnce(*connection_, service, timeout);
    const bool later = status.code() == absl::StatusCode::kUnavailable ||
                       status.code() == absl::StatusCode::kDeadlineExceeded;
    if (!later || Clock::now() + kPause > give_up) return status;
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace concertina::client
