#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/conversation.h"
#include "client/retry.h"
#include "concertina/v1/inference_service.pb.h"
#include "concertina/v1/session.pb.h"

namespace concertina::client {

// Deadlines of calls, and what is repeated.
struct ClientOptions {
  std::chrono::milliseconds call_timeout{30'000};    // every call but Open, Score and Ask
  std::chrono::milliseconds open_timeout{120'000};   // Open, its retries and a history's prefill
  std::chrono::milliseconds score_timeout{600'000};  // Score
  std::optional<std::chrono::milliseconds> ask_timeout;  // Asks that name none; unset: no deadline
  RetryOptions retry;                                    // off unless asked for
};

// What a new conversation is made with. Unset means the server's default.
struct OpenOptions {
  std::optional<v1::CachePolicy> policy;
  std::optional<v1::Budget> budget;
  std::string system_prompt;
  std::vector<v1::Message> history;  // earlier messages to replay, ending with the assistant's
  // A server that is UNAVAILABLE (starting, draining) is tried again until then, within
  // ClientOptions::open_timeout. Zero: not again. See ClientOptions::retry for the rest.
  std::chrono::milliseconds retry_for{5'000};
};

struct Connection;

// A picture the server has.
using UploadedFile = v1::UploadImageResponse;

// A connection to a concertina server. Thread-safe. Errors carry details: see client/errors.h.
class Client {
 public:
  // To "HOST:PORT", without encryption. Returns at once: the first call connects.
  static std::unique_ptr<Client> Connect(const std::string& target,
                                         const ClientOptions& options = {});
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Opens a conversation under a new UUIDv4.
  absl::StatusOr<Conversation> Open(const OpenOptions& options = {});

  // A conversation that is open already, such as one of another process; asks nothing of the
  // server. REQUIRES: nobody else talks in it at the same time.
  Conversation Attach(const std::string& id);

  // Opens a copy of a session under a new UUIDv4, and leaves it open: see Conversation::Fork.
  absl::StatusOr<v1::Session> ForkSession(const std::string& id);

  // Sends a picture's encoded file in pieces; its SHA-256 can be used in UploadedImage. The session
  // it is meant for, if known, routes it to the same server.
  absl::StatusOr<UploadedFile> UploadImage(std::string_view bytes,
                                           const std::string& session_id = "");

  // Teacher-forced log-probabilities; see the service's Score.
  absl::StatusOr<v1::ScoreResponse> Score(const v1::ScoreRequest& request);

  // All open sessions, page by page.
  absl::StatusOr<std::vector<v1::Session>> ListSessions();
  absl::StatusOr<v1::Session> GetSession(const std::string& id);
  // False if there was no such session.
  absl::StatusOr<bool> CloseSession(const std::string& id);
  absl::StatusOr<v1::TokenizeResponse> Tokenize(const v1::TokenizeRequest& request);
  absl::StatusOr<v1::GetModelResponse> GetModel();

  // grpc.health.v1: OK if `service` ("" is the whole server) is SERVING, UNAVAILABLE if it is not
  // or the server cannot be reached, NOT_FOUND if it is unknown. Asks until it is serving for
  // `wait` at most.
  absl::Status CheckHealth(const std::string& service = "",
                           std::chrono::milliseconds wait = std::chrono::milliseconds(0));

 private:
  friend class Conversation;  // makes one of its own connection
  explicit Client(std::shared_ptr<Connection> connection);

  std::shared_ptr<Connection> connection_;
};

}  // namespace concertina::client
