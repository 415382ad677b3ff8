#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace concertina {

// Reads along in the bytes a client sends over HTTP/2 (RFC 9113), one frame header after another,
// and counts the frames that cost the server work while the client risks nothing: RST_STREAM, and
// SETTINGS, PING and PRIORITY that are no acknowledgements. Contents are not looked at. Not
// thread-safe.
class FrameScanner {
 public:
  struct Result {
    size_t passed = 0;       // leading bytes that were read
    int costly = 0;          // costly frames among them
    bool blocked = false;    // the next frame is costly, and the allowance is used up
    bool not_http2 = false;  // the connection does not begin as one of HTTP/2 does
  };

  // Reads until the end of `bytes`, or until just before the end of the header of the costly frame
  // number `allowance` + 1: a server that has got the passed bytes cannot act on that frame yet.
  // The bytes that were not passed are to be offered again.
  Result Scan(std::span<const uint8_t> bytes, int allowance);

  // The client's whole preface was seen.
  bool greeted() const { return preface_seen_ == kPrefaceBytes; }

 private:
  static constexpr size_t kPrefaceBytes = 24;
  static constexpr size_t kHeaderBytes = 9;

  bool ScanPreface(std::span<const uint8_t> bytes, Result& result);
  bool IsCostly() const;

  size_t preface_seen_ = 0;
  std::array<uint8_t, kHeaderBytes> header_{};
  size_t header_seen_ = 0;
  size_t payload_left_ = 0;
};

}  // namespace concertina
