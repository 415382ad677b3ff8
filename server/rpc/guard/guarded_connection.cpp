#include "server/rpc/guard/guarded_connection.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace concertina {
namespace {

bool WouldBlock() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

}  // namespace

GuardedConnection::GuardedConnection(FileDescriptor client, FileDescriptor server,
                                     const ConnectionLimits& limits, TimePoint now)
    : client_(std::move(client)),
      server_(std::move(server)),
      limits_(limits),
      opened_(now),
      allowance_(limits.costly_burst),
      refilled_(now) {}

GuardedConnection::State GuardedConnection::Pump(TimePoint now) {
  if (!PumpToServer(now) || !PumpToClient(now)) return State::kClosed;
  return throttled_since_.has_value() ? State::kThrottled : State::kOpen;
}

const char* GuardedConnection::Fault(TimePoint now) const {
  if (not_http2_) return "NOT_HTTP2";
  if (throttled_since_.has_value() && now - *throttled_since_ >= limits_.max_throttled) {
    return "FRAME_FLOOD";
  }
  if (!scanner_.greeted() && now - opened_ >= limits_.greeting_timeout) return "NOT_HTTP2";
  if (waiting_since_.has_value() && now - *waiting_since_ >= limits_.stall_timeout) {
    return "CLIENT_STALLED";
  }
  return nullptr;
}

uint32_t GuardedConnection::ClientEvents() const {
  const bool wants_more = to_server_.end < kBufferBytes && !to_server_.at_end;
  return (wants_more ? EPOLLIN : 0U) | (to_client_.begin < to_client_.ready ? EPOLLOUT : 0U);
}

uint32_t GuardedConnection::ServerEvents() const {
  const bool wants_more = to_client_.end < kBufferBytes && !to_client_.at_end;
  return (wants_more ? EPOLLIN : 0U) | (to_server_.begin < to_server_.ready ? EPOLLOUT : 0U);
}

// Fills the buffer. False when the connection is broken.
bool GuardedConnection::Read(int from, Buffer& buffer) {
  while (!buffer.at_end && buffer.end < kBufferBytes) {
    const ssize_t got = recv(from, buffer.bytes.data() + buffer.end, kBufferBytes - buffer.end, 0);
    if (got < 0) return WouldBlock();
    buffer.at_end = got == 0;
    buffer.end += static_cast<size_t>(got);
  }
  return true;
}

// Writes what is ready and makes room. False when the connection is broken.
bool GuardedConnection::Write(int to, Buffer& buffer, bool* moved) {
  while (buffer.begin < buffer.ready) {
    const ssize_t sent =
        send(to, buffer.bytes.data() + buffer.begin, buffer.ready - buffer.begin, MSG_NOSIGNAL);
    if (sent < 0) {
      if (WouldBlock()) break;
      return false;
    }
    *moved = true;
    buffer.begin += static_cast<size_t>(sent);
  }
  if (buffer.begin == 0) return true;
  std::copy(buffer.bytes.begin() + static_cast<ptrdiff_t>(buffer.begin),
            buffer.bytes.begin() + static_cast<ptrdiff_t>(buffer.end), buffer.bytes.begin());
  buffer.ready -= buffer.begin;
  buffer.end -= buffer.begin;
  buffer.begin = 0;
  return true;
}

bool GuardedConnection::PumpToServer(TimePoint now) {
  bool moved = true;
  while (moved) {
    moved = false;
    if (!Read(client_.get(), to_server_)) return false;
    Release(now);
    if (not_http2_ || !Write(server_.get(), to_server_, &moved)) return false;
  }
  if (to_server_.at_end && to_server_.end == 0 && !told_server_end_) {
    told_server_end_ = true;
    shutdown(server_.get(), SHUT_WR);
  }
  return true;
}

bool GuardedConnection::PumpToClient(TimePoint now) {
  bool moved = true;
  bool any = false;
  while (moved) {
    moved = false;
    if (!Read(server_.get(), to_client_)) return false;
    to_client_.ready = to_client_.end;
    if (!Write(client_.get(), to_client_, &moved)) return false;
    any = any || moved;
  }
  if (to_client_.end == 0) {
    waiting_since_.reset();
    return !to_client_.at_end;
  }
  if (any || !waiting_since_.has_value()) waiting_since_ = now;
  return true;
}

// Lets frames pass as far as the allowance goes.
void GuardedConnection::Release(TimePoint now) {
  Refill(now);
  const std::span<const uint8_t> waiting(to_server_.bytes.data() + to_server_.ready,
                                         to_server_.end - to_server_.ready);
  const FrameScanner::Result result = scanner_.Scan(waiting, static_cast<int>(allowance_));
  to_server_.ready += result.passed;
  allowance_ -= result.costly;
  not_http2_ = not_http2_ || result.not_http2;
  if (!result.blocked) {
    throttled_since_.reset();
  } else if (!throttled_since_.has_value()) {
    throttled_since_ = now;
  }
}

void GuardedConnection::Refill(TimePoint now) {
  const double seconds = std::chrono::duration<double>(now - refilled_).count();
  allowance_ = std::min(limits_.costly_burst, allowance_ + seconds * limits_.costly_per_second);
  refilled_ = now;
}

}  // namespace concertina
