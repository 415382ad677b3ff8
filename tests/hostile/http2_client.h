#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace concertina::testing {

// HTTP/2 (RFC 9113) as raw bytes, for clients that do what no library does. Integers are written
// big-endian; header blocks (RFC 7541) are literals without indexing, so that any order of them is
// right.

inline constexpr uint8_t kDataFrame = 0;
inline constexpr uint8_t kHeadersFrame = 1;
inline constexpr uint8_t kRstStreamFrame = 3;
inline constexpr uint8_t kSettingsFrame = 4;
inline constexpr uint8_t kPingFrame = 6;
inline constexpr uint8_t kGoAwayFrame = 7;
inline constexpr uint8_t kWindowUpdateFrame = 8;
inline constexpr uint8_t kEndStream = 1;  // and ACK
inline constexpr uint8_t kEndHeaders = 4;

std::string Preface();
std::string Frame(uint8_t type, uint8_t flags, uint32_t stream, std::string_view payload = "");
std::string Big32(uint32_t value);
// SETTINGS with one value, and with none.
std::string Settings(uint16_t id, uint32_t value);
std::string Settings();
// The header block of a call of a method of InferenceService.
std::string CallHeaders(std::string_view method);
// One gRPC message, uncompressed.
std::string GrpcMessage(std::string_view message);
// A whole call: headers, message, end.
std::string WholeCall(uint32_t stream, std::string_view method, std::string_view message);

// A TCP connection of its own. Owned by one thread.
class RawConnection {
 public:
  // "127.0.0.1:port"; `receive_buffer` of the kernel, bytes, 0 for its own idea. Check ok().
  explicit RawConnection(const std::string& target, int receive_buffer = 0);
  ~RawConnection();
  RawConnection(const RawConnection&) = delete;
  RawConnection& operator=(const RawConnection&) = delete;

  bool ok() const { return file_ >= 0; }
  // False when the server has hung up, or takes nothing for `limit`.
  bool Send(std::string_view bytes, std::chrono::milliseconds limit = std::chrono::seconds(5));
  // Hangs up at once: the server gets a reset.
  void Abort();

  struct Received {
    uint8_t type = 0;
    uint8_t flags = 0;
    uint32_t stream = 0;
    std::string payload;
  };
  // The next frame, or nothing after `limit` or at the end. PINGs and SETTINGS are answered
  // and not returned.
  std::optional<Received> Next(std::chrono::milliseconds limit);
  // The server has hung up.
  bool ended() const { return ended_; }

 private:
  bool Fill(std::chrono::steady_clock::time_point end);

  int file_ = -1;
  bool ended_ = false;
  std::string received_;
};

}  // namespace concertina::testing
