#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>

namespace concertina {

// Calls in flight, in all and by connection. Thread-safe.
class CallCounter {
 public:
  struct Counts {
    int32_t all;
    int32_t on_connection;
  };

  // Counts one more call; returns how many there were before it. `peer` names the connection
  // ("ipv4:127.0.0.1:40312").
  Counts Enter(const std::string& peer);
  // REQUIRES: one Enter with the same peer.
  void Leave(const std::string& peer);

  int32_t in_flight() const;

 private:
  mutable std::mutex mutex_;
  int32_t all_ = 0;
  std::unordered_map<std::string, int32_t> by_peer_;  // only those with calls in flight
};

}  // namespace concertina
