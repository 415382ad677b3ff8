// WebP (RFC 9649): one RIFF chunk that holds VP8, VP8L, or VP8X followed by the others.
#include "models/image/byte_order.h"
#include "models/image/image_container.h"

namespace concertina {
namespace {

constexpr size_t kRiffHeaderSize = 12;
constexpr size_t kChunkHeaderSize = 8;
constexpr uint8_t kAnimationFlag = 0x02;

absl::Status Malformed() { return absl::InvalidArgumentError("image: malformed WebP"); }
absl::Status CutShort() { return absl::InvalidArgumentError("image: WebP is cut short"); }

struct Size {
  int32_t width = 0;
  int32_t height = 0;
};

// Key frame header of RFC 6386 section 9.1: tag, start code, 14 bits each of width and height.
absl::StatusOr<Size> ReadLossy(std::span<const uint8_t> data) {
  if (data.size() < 10 || (data[0] & 1) != 0 || !HasPrefix(data, "\x9d\x01\x2a", 3)) {
    return Malformed();
  }
  return Size{static_cast<int32_t>(Little16(data, 6) & 0x3fff),
              static_cast<int32_t>(Little16(data, 8) & 0x3fff)};
}

// Signature, then 14 bits each of width - 1 and height - 1, an alpha bit and a version of 0.
absl::StatusOr<Size> ReadLossless(std::span<const uint8_t> data) {
  if (data.size() < 5 || data[0] != 0x2f) return Malformed();
  const uint32_t bits = Little32(data, 1);
  if (bits >> 29 != 0) return Malformed();
  return Size{static_cast<int32_t>(bits & 0x3fff) + 1,
              static_cast<int32_t>(bits >> 14 & 0x3fff) + 1};
}

absl::StatusOr<Size> ReadExtended(std::span<const uint8_t> data) {
  if (data.size() < 10) return Malformed();
  if ((data[0] & kAnimationFlag) != 0) {
    return absl::InvalidArgumentError("image: animated WebP is not supported");
  }
  return Size{static_cast<int32_t>(Little24(data, 4)) + 1,
              static_cast<int32_t>(Little24(data, 7)) + 1};
}

// What the chunks have said so far.
struct State {
  Size canvas;  // of VP8X
  Size frame;   // of the bitstream
  bool first = true;
};

absl::Status ReadChunk(std::span<const uint8_t> tag, std::span<const uint8_t> data, State& state,
                       ImageContainer& out) {
  const bool is_lossy = HasPrefix(tag, "VP8 ");
  const bool is_lossless = HasPrefix(tag, "VP8L");
  const bool is_extended = HasPrefix(tag, "VP8X");
  if (is_extended) {
    absl::StatusOr<Size> size = state.first ? ReadExtended(data) : Malformed();
    if (!size.ok()) return size.status();
    state.canvas = *size;
  } else if (is_lossy || is_lossless) {
    if (state.frame.width != 0) return Malformed();
    absl::StatusOr<Size> size = is_lossy ? ReadLossy(data) : ReadLossless(data);
    if (!size.ok()) return size.status();
    if (size->width == 0 || size->height == 0) return Malformed();
    state.frame = *size;
  } else if (state.first) {
    return Malformed();
  } else if (HasPrefix(tag, "EXIF")) {
    out.exif.assign(1, data);
  } else if (HasPrefix(tag, "XMP ")) {
    out.xmp = data;
  }
  state.first = false;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ImageContainer> ParseWebp(std::span<const uint8_t> bytes) {
  const size_t riff_size = Little32(bytes, 4);
  if (riff_size > bytes.size() - kChunkHeaderSize) return CutShort();
  if (riff_size < kRiffHeaderSize - kChunkHeaderSize) return Malformed();
  const std::span<const uint8_t> riff = bytes.first(riff_size + kChunkHeaderSize);

  ImageContainer out;
  out.format = ImageFormat::kWebp;
  State state;
  for (size_t at = kRiffHeaderSize; at < riff.size();) {
    const std::span<const uint8_t> rest = riff.subspan(at);
    if (rest.size() < kChunkHeaderSize) return CutShort();
    const size_t length = Little32(rest, 4);
    if (length > rest.size() - kChunkHeaderSize) return CutShort();
    const std::span<const uint8_t> data = rest.subspan(kChunkHeaderSize, length);
    if (absl::Status status = ReadChunk(rest.first(4), data, state, out); !status.ok()) {
      return status;
    }
    at += kChunkHeaderSize + length + (length & 1);
  }
  if (state.frame.width == 0) return Malformed();
  const bool has_canvas = state.canvas.width != 0;
  if (has_canvas &&
      (state.canvas.width != state.frame.width || state.canvas.height != state.frame.height)) {
    return Malformed();
  }
  out.width = state.frame.width;
  out.height = state.frame.height;
  out.payload.push_back(riff);
  return out;
}

}  // namespace concertina
