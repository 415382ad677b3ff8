// JPEG (ITU-T T.81): marker segments, entropy-coded scans between them, an end marker.
#include <cstring>

#include "models/image/byte_order.h"
#include "models/image/image_container.h"

namespace concertina {
namespace {

constexpr uint8_t kSof0 = 0xc0;  // baseline, then extended sequential and progressive, all Huffman
constexpr uint8_t kSof2 = 0xc2;
constexpr uint8_t kSofLast = 0xcf;
constexpr uint8_t kDht = 0xc4;
constexpr uint8_t kJpg = 0xc8;
constexpr uint8_t kDac = 0xcc;
constexpr uint8_t kRst0 = 0xd0;
constexpr uint8_t kRst7 = 0xd7;
constexpr uint8_t kSoi = 0xd8;
constexpr uint8_t kEoi = 0xd9;
constexpr uint8_t kSos = 0xda;
constexpr uint8_t kApp1 = 0xe1;
// A progressive file may revisit every block in every scan; encoders use about ten.
constexpr int kMaxScans = 100;

constexpr char kExifTag[] = "Exif\0\0";
constexpr char kXmpTag[] = "http://ns.adobe.com/xap/1.0/\0";

absl::Status Malformed() { return absl::InvalidArgumentError("image: malformed JPEG"); }
absl::Status CutShort() { return absl::InvalidArgumentError("image: JPEG is cut short"); }

bool IsFrameHeader(uint8_t marker) {
  return marker >= kSof0 && marker <= kSofLast && marker != kDht && marker != kJpg &&
         marker != kDac;
}

absl::Status ReadFrameHeader(uint8_t marker, std::span<const uint8_t> data, ImageContainer& out) {
  if (marker > kSof2) {
    return absl::InvalidArgumentError(
        "image: only baseline, extended and progressive Huffman coded JPEG is supported");
  }
  if (out.width != 0 || data.size() < 6) return Malformed();
  if (data[0] != 8) return absl::InvalidArgumentError("image: only 8-bit JPEG is supported");
  out.height = static_cast<int32_t>(Big16(data, 1));
  out.width = static_cast<int32_t>(Big16(data, 3));
  const size_t components = data[5];
  if (data.size() != 6 + 3 * components || out.width == 0) return Malformed();
  if (components != 1 && components != 3 && components != 4) {
    return absl::InvalidArgumentError("image: JPEG must have 1, 3 or 4 components");
  }
  return absl::OkStatus();
}

void ReadApp1(std::span<const uint8_t> data, ImageContainer& out) {
  if (HasPrefix(data, kExifTag)) {
    // A block over 64 KiB continues in further segments, each with the tag.
    out.exif.push_back(data.subspan(sizeof(kExifTag) - 1));
  } else if (HasPrefix(data, kXmpTag)) {
    out.xmp = data.subspan(sizeof(kXmpTag) - 1);
  }
}

// First position at or after `at` of a marker that ends entropy-coded data; bytes.size() if none.
size_t SkipEntropyCoded(std::span<const uint8_t> bytes, size_t at) {
  while (at + 1 < bytes.size()) {
    const void* found = std::memchr(bytes.data() + at, 0xff, bytes.size() - 1 - at);
    if (found == nullptr) break;
    at = static_cast<size_t>(static_cast<const uint8_t*>(found) - bytes.data());
    const uint8_t next = bytes[at + 1];
    if (next == 0xff) {
      at += 1;  // fill byte
    } else if (next == 0 || (next >= kRst0 && next <= kRst7)) {
      at += 2;
    } else {
      return at;
    }
  }
  return bytes.size();
}

}  // namespace

absl::StatusOr<ImageContainer> ParseJpeg(std::span<const uint8_t> bytes) {
  ImageContainer out;
  out.format = ImageFormat::kJpeg;
  int scans = 0;
  size_t at = 2;  // after the start marker
  while (at + 1 < bytes.size()) {
    if (bytes[at] != 0xff) return Malformed();
    const uint8_t marker = bytes[at + 1];
    if (marker == 0xff) {
      at += 1;  // fill byte
      continue;
    }
    at += 2;
    if (marker == kEoi) {
      if (scans == 0) return Malformed();
      out.payload.push_back(bytes.first(at));
      return out;
    }
    if (marker == 0 || marker == kSoi || (marker >= kRst0 && marker <= kRst7)) return Malformed();
    if (bytes.size() - at < 2) return CutShort();
    const size_t length = Big16(bytes, at);
    if (length < 2) return Malformed();
    if (length > bytes.size() - at) return CutShort();
    const std::span<const uint8_t> data = bytes.subspan(at + 2, length - 2);
    at += length;
    if (IsFrameHeader(marker)) {
      if (absl::Status status = ReadFrameHeader(marker, data, out); !status.ok()) return status;
    } else if (marker == kApp1 && scans == 0) {
      ReadApp1(data, out);
    } else if (marker == kSos) {
      if (out.width == 0 || ++scans > kMaxScans) return Malformed();
      at = SkipEntropyCoded(bytes, at);
    }
  }
  return CutShort();
}

}  // namespace concertina
