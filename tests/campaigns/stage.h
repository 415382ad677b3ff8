#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/campaigns/long_llava.h"
#include "tests/campaigns/wire.h"
#include "tests/integration/server_process.h"

namespace concertina::testing {

// A turn that lasts for seconds, in a session of its own, from its first token until this object
// goes. Needs a server on LongLlava().
class LongTurn {
 public:
  struct Options {
    v1::OpenSessionRequest open;
    int32_t max_tokens = kLongTurnTokens;
    bool queued = false;  // whether its first token is not awaited
  };
  // Returns when the turn decodes, or at once.
  LongTurn(const Wire& wire, const Options& options);
  explicit LongTurn(const Wire& wire);
  ~LongTurn();
  LongTurn(const LongTurn&) = delete;
  LongTurn& operator=(const LongTurn&) = delete;

  const std::string& session_id() const { return session_id_; }
  // Cancels it as a client does.
  void Cancel() { context_.TryCancel(); }
  // Waits for the end; how it ended. Once.
  Outcome Wait();
  // What came; after Wait.
  const WireTurn& turn() const { return turn_; }

 private:
  std::string session_id_;
  grpc::ClientContext context_;
  WireTurn turn_;
  std::thread thread_;
};

// A server in the state that a condition needs, and a connection to it.
class Stage {
 public:
  // On `model` flags, with some more. Records a failure and stays down if it does not start.
  explicit Stage(std::vector<std::string> flags, const std::vector<std::string>& more = {});

  bool ready() const { return server_ != nullptr; }
  ServerProcess& server() { return *server_; }
  const Wire& wire() const { return *wire_; }

  // A turn that is refused with `code`. Expects the refusal to be trailers-only: gRPC makes its own
  // second attempt only when no initial metadata came with the first.
  Outcome Refuse(const v1::GenerateRequest& request, const std::string& code);
  // Calls of a method that ended with `code` so far.
  double Calls(const std::string& method, const std::string& code) const;

 private:
  std::unique_ptr<ServerProcess> server_;
  std::unique_ptr<Wire> wire_, retrying_;
};

}  // namespace concertina::testing
