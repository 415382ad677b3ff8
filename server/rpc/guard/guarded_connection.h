#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "server/rpc/guard/file_descriptor.h"
#include "server/rpc/guard/frame_scanner.h"

namespace concertina {

// What one connection may do before it is slowed down or cut.
struct ConnectionLimits {
  // Frames that cost us more than the client (see FrameScanner): a bucket of `costly_burst` that
  // fills at `costly_per_second`. Beyond it nothing more is read from the client for a while.
  double costly_per_second = 1000;
  double costly_burst = 100;
  // A client held back without a break for this long is no client.
  std::chrono::milliseconds max_throttled{5'000};
  // To say HTTP/2's first words.
  std::chrono::milliseconds greeting_timeout{20'000};
  // To take anything at all while something waits.
  std::chrono::milliseconds stall_timeout{30'000};
};

// One client's connection, and the one to gRPC that stands for it; bytes are carried between them
// with at most kBufferBytes waiting in each direction. Owned by the guard's thread.
class GuardedConnection {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  static constexpr size_t kBufferBytes = size_t{16} << 10;

  enum class State {
    kOpen,
    kClosed,     // ended, or broken, by either side
    kThrottled,  // open; to be pumped again soon, though no event will come
  };

  // Both descriptors do not block.
  GuardedConnection(FileDescriptor client, FileDescriptor server, const ConnectionLimits& limits,
                    TimePoint now);

  // Carries what can be carried without waiting.
  State Pump(TimePoint now);

  // Why the connection should be cut, or nullptr.
  const char* Fault(TimePoint now) const;

  // What to wait for, in epoll's bits.
  uint32_t ClientEvents() const;
  uint32_t ServerEvents() const;
  int client() const { return client_.get(); }
  int server() const { return server_.get(); }

 private:
  // Bytes on their way: [begin, ready) may be written, [ready, end) may not yet.
  struct Buffer {
    std::vector<uint8_t> bytes = std::vector<uint8_t>(kBufferBytes);
    size_t begin = 0;
    size_t ready = 0;
    size_t end = 0;
    bool at_end = false;  // nothing more will be read
  };

  static bool Read(int from, Buffer& buffer);
  static bool Write(int to, Buffer& buffer, bool* moved);
  bool PumpToServer(TimePoint now);
  bool PumpToClient(TimePoint now);
  void Release(TimePoint now);
  void Refill(TimePoint now);

  FileDescriptor client_;
  FileDescriptor server_;
  const ConnectionLimits limits_;
  const TimePoint opened_;
  FrameScanner scanner_;
  Buffer to_server_;
  Buffer to_client_;
  double allowance_;
  TimePoint refilled_;
  bool not_http2_ = false;
  bool told_server_end_ = false;
  std::optional<TimePoint> throttled_since_;
  std::optional<TimePoint> waiting_since_;  // the client takes nothing
};

}  // namespace concertina
