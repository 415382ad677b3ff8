#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "concertina/v1/inference_service.grpc.pb.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "server/app/runtime.h"

namespace concertina::testing {

// A complete server (engine, gRPC, metrics) in the test's process, on free loopback ports, with a
// channel to it. Errors are logged to stderr.
class InProcessServer {
 public:
  // Listening addresses in `config` are overridden; /metrics is served only `with_metrics`. The
  // model is loaded as `config` says unless given; one model may serve several servers one after
  // the other.
  static absl::StatusOr<std::unique_ptr<InProcessServer>> Start(
      ServerConfig config, std::shared_ptr<const Model> model = nullptr, bool with_metrics = false);

  Runtime& runtime() { return *runtime_; }
  v1::InferenceService::Stub& stub() { return *stub_; }
  const std::shared_ptr<grpc::Channel>& channel() { return channel_; }

 private:
  InProcessServer() : log_(LogFormat::kText, "error") {}

  Log log_;
  std::unique_ptr<Runtime> runtime_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::InferenceService::Stub> stub_;
};

// The tiny LLaVA-1.5 of tests/goldens in f32 on a small pool: loads in milliseconds.
ServerConfig TinyLlavaConfig();

// google.rpc details of an error, as a client reads them.
struct ErrorDetails {
  std::string field;          // BadRequest
  std::string reason;         // ErrorInfo
  std::string domain;         // ErrorInfo
  std::string quota_subject;  // QuotaFailure
  std::optional<int64_t> retry_ms;
};
ErrorDetails DetailsOf(const grpc::Status& status);

// Opens a session with the server's defaults, or as `request` says; returns its id. Aborts the test
// program on an error.
std::string OpenOrDie(v1::InferenceService::Stub& stub, const v1::OpenSessionRequest& request = {});

// A Generate request with one text part.
v1::GenerateRequest TextTurn(const std::string& session_id, const std::string& text,
                             int32_t max_tokens);

// All of one turn.
struct Turn {
  grpc::Status status;
  std::vector<v1::GenerateResponse> events;
  std::string text;                // of all deltas
  std::vector<int32_t> token_ids;  // of all deltas
  const v1::Started* started() const;
  const v1::Folded* folded() const;
  const v1::Completed* completed() const;
};
Turn RunTurn(v1::InferenceService::Stub& stub, const v1::GenerateRequest& request);

// The bytes of a file; aborts the test program if it cannot be read.
std::string ReadFileOrDie(const std::string& path);

}  // namespace concertina::testing
