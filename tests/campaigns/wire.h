#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "concertina/v1/inference_service.grpc.pb.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"

namespace concertina::testing {

// A connection below the client library, shared with no other. Thread-safe.
class Wire {
 public:
  // `service_config`: gRPC's, as JSON; retries are off without one.
  explicit Wire(const std::string& target, const std::string& service_config = "");

  v1::InferenceService::Stub& stub() const { return *stub_; }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }

  // Answer of grpc.health.v1 for a service: SERVING is 1, NOT_SERVING 2; nothing if there is none.
  std::optional<int> Health(const std::string& service) const;

 private:
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::InferenceService::Stub> stub_;
};

// How a call ended: the status with its details as the client library reads them, those it has no
// use for, and the trailer that tells gRPC when to try again.
struct Outcome {
  absl::Status status;
  std::string quota_subject;  // of QuotaFailure's first violation
  std::string pushback_ms;    // trailer grpc-retry-pushback-ms
};
Outcome OutcomeOf(const grpc::Status& status, const grpc::ClientContext& context);

// One turn as it came over the wire.
struct WireTurn {
  grpc::Status status;
  std::vector<int32_t> tokens;
  std::string text;
  bool started = false, folded = false, completed = false;
};
using OnEvent = std::function<void(const v1::GenerateResponse&, const WireTurn&)>;

// Reads a turn to its end; `on_event` sees each event after it was added to the turn.
WireTurn Generate(v1::InferenceService::Stub& stub, const v1::GenerateRequest& request,
                  grpc::ClientContext& context, const OnEvent& on_event = nullptr);
WireTurn Generate(v1::InferenceService::Stub& stub, const v1::GenerateRequest& request);

// A greedy turn of exactly `max_tokens` tokens.
v1::GenerateRequest TurnOf(const std::string& session_id, const std::string& text,
                           int32_t max_tokens);

// Opens a session and returns its id; empty, with a failure recorded, if that is refused.
std::string OpenSession(const Wire& wire, const v1::OpenSessionRequest& request = {});
void CloseSession(const Wire& wire, const std::string& id);
// State of a session; a default one, with a failure recorded, if there is none.
v1::Session GetSession(const Wire& wire, const std::string& id);
// Waits up to two seconds for the session's turn to end and returns its state then.
v1::Session IdleSession(const Wire& wire, const std::string& id);

}  // namespace concertina::testing
