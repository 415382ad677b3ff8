#include "tests/hostile/http2_client.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace concertina::testing {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kFrameHeader = 9;

std::string Literal(std::string_view name, std::string_view value) {
  std::string out(1, '\0');
  out += static_cast<char>(name.size());
  out += name;
  out += static_cast<char>(value.size());
  out += value;
  return out;
}

bool Wait(int file, short events, Clock::time_point end) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
  pollfd poll_file{file, events, 0};
  return poll(&poll_file, 1, std::max(0, static_cast<int>(left.count()))) > 0;
}

}  // namespace

std::string Preface() { return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"; }

std::string Big32(uint32_t value) {
  std::string out;
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift);
  return out;
}

std::string Frame(uint8_t type, uint8_t flags, uint32_t stream, std::string_view payload) {
  std::string out = Big32(static_cast<uint32_t>(payload.size())).substr(1);
  out += static_cast<char>(type);
  out += static_cast<char>(flags);
  out += Big32(stream);
  out += payload;
  return out;
}

std::string Settings(uint16_t id, uint32_t value) {
  return Frame(kSettingsFrame, 0, 0, Big32(id).substr(2) + Big32(value));
}

std::string Settings() { return Frame(kSettingsFrame, 0, 0); }

std::string CallHeaders(std::string_view method) {
  return Literal(":method", "POST") + Literal(":scheme", "http") +
         Literal(":path", "/concertina.v1.InferenceService/" + std::string(method)) +
         Literal(":authority", "localhost") + Literal("te", "trailers") +
         Literal("content-type", "application/grpc");
}

std::string GrpcMessage(std::string_view message) {
  std::string out(1, '\0');
  out += Big32(static_cast<uint32_t>(message.size()));
  out += message;
  return out;
}

std::string WholeCall(uint32_t stream, std::string_view method, std::string_view message) {
  return Frame(kHeadersFrame, kEndHeaders, stream, CallHeaders(method)) +
         Frame(kDataFrame, kEndStream, stream, GrpcMessage(message));
}

RawConnection::RawConnection(const std::string& target, int receive_buffer) {
  file_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(file_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  if (receive_buffer > 0) {
    setsockopt(file_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(std::stoi(target.substr(target.rfind(':') + 1))));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(file_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) return;
  close(file_);
  file_ = -1;
}

RawConnection::~RawConnection() {
  if (file_ >= 0) close(file_);
}

void RawConnection::Abort() {
  const linger at_once{1, 0};
  setsockopt(file_, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  close(file_);
  file_ = -1;
}

bool RawConnection::Send(std::string_view bytes, std::chrono::milliseconds limit) {
  const auto end = Clock::now() + limit;
  while (!bytes.empty()) {
    if (!Wait(file_, POLLOUT, end)) return false;
    const ssize_t sent = send(file_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN) return false;
    if (sent > 0) bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

bool RawConnection::Fill(Clock::time_point end) {
  std::array<char, 65536> buffer;
  if (ended_ || !Wait(file_, POLLIN, end)) return false;
  const ssize_t got = recv(file_, buffer.data(), buffer.size(), 0);
  ended_ = got <= 0;
  if (got > 0) received_.append(buffer.data(), static_cast<size_t>(got));
  return got > 0;
}

std::optional<RawConnection::Received> RawConnection::Next(std::chrono::milliseconds limit) {
  const auto end = Clock::now() + limit;
  const auto byte = [&](size_t at) { return static_cast<uint8_t>(received_[at]); };
  for (;;) {
    while (received_.size() < kFrameHeader) {
      if (!Fill(end)) return std::nullopt;
    }
    const size_t length = size_t{byte(0)} << 16 | size_t{byte(1)} << 8 | byte(2);
    while (received_.size() < kFrameHeader + length) {
      if (!Fill(end)) return std::nullopt;
    }
    Received frame;
    frame.type = byte(3);
    frame.flags = byte(4);
    frame.stream =
        uint32_t{byte(5)} << 24 | uint32_t{byte(6)} << 16 | uint32_t{byte(7)} << 8 | byte(8);
    frame.payload = received_.substr(kFrameHeader, length);
    received_.erase(0, kFrameHeader + length);
    const bool acknowledgement = (frame.flags & 1) != 0;
    if (frame.type == kPingFrame || frame.type == kSettingsFrame) {
      if (!acknowledgement) {
        Send(Frame(frame.type, 1, 0, frame.type == kPingFrame ? frame.payload : ""));
      }
      continue;
    }
    return frame;
  }
}

}  // namespace concertina::testing
