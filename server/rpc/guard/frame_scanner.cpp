#include "server/rpc/guard/frame_scanner.h"

#include <algorithm>

namespace concertina {
namespace {

constexpr char kPreface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

constexpr uint8_t kPriority = 2;
constexpr uint8_t kRstStream = 3;
constexpr uint8_t kSettings = 4;
constexpr uint8_t kPing = 6;
constexpr uint8_t kAckFlag = 1;

}  // namespace

FrameScanner::Result FrameScanner::Scan(std::span<const uint8_t> bytes, int allowance) {
  Result result;
  if (!ScanPreface(bytes, result)) return result;
  while (result.passed < bytes.size()) {
    if (payload_left_ > 0) {
      const size_t step = std::min(payload_left_, bytes.size() - result.passed);
      payload_left_ -= step;
      result.passed += step;
      continue;
    }
    header_[header_seen_] = bytes[result.passed];
    if (header_seen_ + 1 < kHeaderBytes) {
      ++header_seen_;
      ++result.passed;
      continue;
    }
    if (IsCostly()) {
      if (result.costly == allowance) {
        result.blocked = true;
        return result;
      }
      ++result.costly;
    }
    ++result.passed;
    header_seen_ = 0;
    payload_left_ = size_t{header_[0]} << 16 | size_t{header_[1]} << 8 | header_[2];
  }
  return result;
}

// False when there is nothing to read behind it yet.
bool FrameScanner::ScanPreface(std::span<const uint8_t> bytes, Result& result) {
  while (preface_seen_ < kPrefaceBytes && result.passed < bytes.size()) {
    if (bytes[result.passed] != static_cast<uint8_t>(kPreface[preface_seen_])) {
      result.not_http2 = true;
      return false;
    }
    ++preface_seen_;
    ++result.passed;
  }
  return greeted();
}

bool FrameScanner::IsCostly() const {
  switch (header_[3]) {
    case kRstStream:
    case kPriority:
      return true;
    case kSettings:
    case kPing:
      return (header_[4] & kAckFlag) == 0;
    default:
      return false;
  }
}

}  // namespace concertina
