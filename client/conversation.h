#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/parts.h"
#include "concertina/v1/generation.pb.h"
#include "concertina/v1/inference_service.pb.h"
#include "concertina/v1/session.pb.h"

namespace concertina::client {

// How one turn is answered. Zero and empty mean the server's default.
struct AskOptions {
  int32_t max_tokens = 0;
  v1::Sampling sampling;  // all zero: greedy
  std::vector<std::string> stop;
  bool logprobs = false;
  bool ignore_eos = false;
  std::optional<int32_t> expected_turn;              // finished turns the session should have
  std::optional<std::chrono::milliseconds> timeout;  // none: ClientOptions::ask_timeout
  std::function<void(const v1::GenerateResponse&)> on_event;  // sees every event first
};

// One answer. After a stop (`stopped`) only what had arrived by then is set: text, tokens and
// `folded` if it came, but not the fields of the event Completed.
struct Answer {
  std::string text;
  std::vector<int32_t> token_ids;
  std::vector<float> logprobs;  // natural; only if asked for
  std::optional<v1::Folded> folded;
  v1::Completed completed;  // finish reason, usage, cache, timings, turn
  bool stopped = false;     // by on_text or Cancel
};

// One session of a server, with a KV cache of its own. Made by Client::Open or Attach, or by Fork;
// it may outlive the Client.
// Movable. Cancel is thread-safe; everything else is for one thread at a time. Calls fail with the
// server's status; DetailsOf (client/errors.h) tells reason, field and retry delay.
class Conversation {
 public:
  // Receives new text: whole UTF-8 characters, called on the thread of Ask. False stops the answer.
  using OnText = std::function<bool(std::string_view text)>;

  Conversation(Conversation&&) noexcept;
  Conversation& operator=(Conversation&&) noexcept;
  // Closes the session unless Close or Release was called; errors are dropped.
  ~Conversation();

  // UUIDv4, also sent as metadata "x-session-id" with every call, for routing.
  const std::string& id() const;

  // Says `parts` and streams the answer; returns when it is complete or stopped. The session can go
  // on after a stop or a deadline: what was delivered stays in it. A turn refused because the one
  // that was stopped has not quite ended is tried again for a moment. REQUIRES: parts not empty.
  absl::StatusOr<Answer> Ask(const std::vector<v1::InputPart>& parts,
                             const AskOptions& options = {}, const OnText& on_text = nullptr);

  // Stops the Ask in progress, if any. Thread-safe, returns at once.
  void Cancel();

  // A new budget for the live session; returns its state.
  absl::StatusOr<v1::Session> SetBudget(const v1::Budget& budget);

  // The conversation goes back to the end of its turn `turn`, 0 to the turns it has: what was said
  // later is forgotten. Returns the session's state. ABORTED (TURN_IN_FLIGHT) while a turn runs.
  absl::StatusOr<v1::Session> Truncate(int32_t turn);

  // A copy of the conversation under an id of its own, which shares cache pages with this one until
  // either changes. ABORTED (TURN_IN_FLIGHT) while a turn runs.
  absl::StatusOr<Conversation> Fork();

  // State of the session and its cache.
  absl::StatusOr<v1::Session> Info();

  // Ends the session and frees its cache. False if the server did not have it (any more). A second
  // call returns false without asking the server.
  absl::StatusOr<bool> Close();

  // Leaves the session open on the server: the destructor and Close do nothing from now on.
  void Release();

 private:
  friend class Client;
  struct State;
  explicit Conversation(std::unique_ptr<State> state);
  absl::StatusOr<Answer> AskOnce(const v1::GenerateRequest& request, const AskOptions& options,
                                 const OnText& on_text);
  absl::StatusOr<v1::Session> Update(const v1::UpdateSessionRequest& request);

  std::unique_ptr<State> state_;
};

}  // namespace concertina::client
