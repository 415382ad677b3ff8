#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "client/connection.h"
#include "client/conversation.h"

namespace concertina::client {

struct Conversation::State {
  std::shared_ptr<Connection> connection;
  std::string id;
  bool closed = false;
  // The last turn was broken off: the server may need a step more to notice.
  bool may_be_settling = false;

  std::mutex mutex;
  // All below guarded by mutex.
  bool asking = false;
  bool stop_asked = false;
  grpc::ClientContext* in_flight = nullptr;  // on the stack of Ask
};

}  // namespace concertina::client
