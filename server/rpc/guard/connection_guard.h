#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>

#include "absl/status/statusor.h"
#include "server/rpc/guard/guarded_connection.h"
#include "server/rpc/guard/sockets.h"

namespace concertina {

struct GuardOptions {
  std::string listen;          // host:port; port 0 takes a free one
  int max_connections = 1024;  // further ones are hung up on; lowered to what file limits allow
  ConnectionLimits limits;
  // Takes over a connection's inner socket; called on the guard's thread.
  std::function<void(int socket)> serve;
  // A connection was refused or cut, with the reason: CONNECTIONS_FULL, NOT_HTTP2, FRAME_FLOOD,
  // CLIENT_STALLED. Called on the guard's thread.
  std::function<void(const char* reason)> on_cut;
};

// Stands between the network and gRPC, because gRPC 1.51 has no defence of its own against clients
// that open and reset streams as fast as they can (each leaves tens of kilobytes behind for a
// while: CVE-2023-44487), and never accepts again once it ran out of file descriptors. The guard
// accepts the connections itself, counts frames, and hands gRPC one end of a Unix socket for each.
// One thread carries all bytes; a connection that is slow or slowed down delays no other.
// Thread-safe.
class ConnectionGuard {
 public:
  // FAILED_PRECONDITION when the address cannot be used. Nothing is accepted before Run.
  static absl::StatusOr<std::unique_ptr<ConnectionGuard>> Listen(GuardOptions options);
  // Cuts what is left.
  ~ConnectionGuard();
  ConnectionGuard(const ConnectionGuard&) = delete;
  ConnectionGuard& operator=(const ConnectionGuard&) = delete;

  int port() const { return port_; }
  int connections() const { return open_.load(); }

  // Begins to accept. Called once.
  void Run();
  // Accepts no more; open connections go on. Idempotent.
  void StopAccepting();
  // Waits until every connection has ended, at most for `limit`. REQUIRES: StopAccepting, and that
  // gRPC ends its sides.
  void Drain(std::chrono::milliseconds limit);

 private:
  using TimePoint = GuardedConnection::TimePoint;
  struct Entry;

  explicit ConnectionGuard(GuardOptions options);
  absl::Status Open();
  void Loop();
  void Wake();
  void Accept(TimePoint now);
  void Adopt(FileDescriptor client, TimePoint now);
  void OnEvent(uint64_t tag, uint32_t events, TimePoint now);
  void Pump(uint64_t id, TimePoint now);
  void Watch(uint64_t id, Entry& entry);
  void Sweep(TimePoint now);
  void Close(uint64_t id, const char* reason);

  GuardOptions options_;
  int port_ = 0;
  FileDescriptor listener_;
  FileDescriptor epoll_;
  FileDescriptor wake_;
  PairMaker pairs_;
  std::atomic<int> open_{0};
  std::atomic<bool> accepting_{true};
  std::atomic<bool> stopping_{false};
  std::thread thread_;

  // Of the thread.
  bool listening_ = false;
  TimePoint accept_again_{};
  uint64_t next_id_ = 1;
  TimePoint swept_;
  std::unordered_map<uint64_t, Entry> entries_;
  std::unordered_map<uint64_t, bool> throttled_;
};

}  // namespace concertina
