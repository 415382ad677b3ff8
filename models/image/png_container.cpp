// PNG (ISO/IEC 15948): signature, then chunks of length, type, data and CRC up to IEND.
#include <algorithm>

#include "models/image/byte_order.h"
#include "models/image/image_container.h"

namespace concertina {
namespace {

constexpr size_t kSignatureSize = 8;
constexpr size_t kChunkOverhead = 12;
constexpr uint32_t kMaxDimension = 0x7fffffff;
constexpr int kPaletteColor = 3;

absl::Status Malformed() { return absl::InvalidArgumentError("image: malformed PNG"); }

bool IsCritical(std::span<const uint8_t> chunk) { return (chunk[4] & 0x20) == 0; }

// Table 11.1: the bit depths each colour type may have.
bool IsValidDepth(int bit_depth, int color_type) {
  switch (color_type) {
    case 0:
      return bit_depth == 1 || bit_depth == 2 || bit_depth == 4 || bit_depth == 8 ||
             bit_depth == 16;
    case kPaletteColor:
      return bit_depth == 1 || bit_depth == 2 || bit_depth == 4 || bit_depth == 8;
    case 2:
    case 4:
    case 6:
      return bit_depth == 8 || bit_depth == 16;
    default:
      return false;
  }
}

absl::Status ReadHeader(std::span<const uint8_t> data, ImageContainer& out, bool* needs_palette) {
  if (data.size() != 13) return Malformed();
  const uint32_t width = Big32(data, 0);
  const uint32_t height = Big32(data, 4);
  if (width > kMaxDimension || height > kMaxDimension) return Malformed();
  out.width = static_cast<int32_t>(width);
  out.height = static_cast<int32_t>(height);
  const int bit_depth = data[8];
  const int color_type = data[9];
  const int compression = data[10];
  const int filter_method = data[11];
  const int interlace = data[12];
  if (!IsValidDepth(bit_depth, color_type) || compression != 0 || filter_method != 0 ||
      interlace > 1) {
    return Malformed();
  }
  *needs_palette = color_type == kPaletteColor;
  out.grey16 = bit_depth == 16 && color_type == 0;
  return absl::OkStatus();
}

// XMP travels in an international text chunk with this keyword; the flag after it says compressed.
void ReadText(std::span<const uint8_t> data, ImageContainer& out) {
  constexpr char kKeyword[] = "XML:com.adobe.xmp";
  if (HasPrefix(data, kKeyword) && data.size() > sizeof(kKeyword) &&
      data[sizeof(kKeyword) - 1] == 0 && data[sizeof(kKeyword)] == 0) {
    out.xmp = data.subspan(sizeof(kKeyword));
  }
}

}  // namespace

// Ancillary chunks are not handed to the decoder: colour profiles and compressed texts are where
// small files grow large, and neither gamma nor transparency changes what Pillow's RGB holds.
absl::StatusOr<ImageContainer> ParsePng(std::span<const uint8_t> bytes) {
  ImageContainer out;
  out.format = ImageFormat::kPng;
  out.payload.push_back(bytes.first(kSignatureSize));
  bool first = true;
  bool has_data = false;
  bool needs_palette = false;
  for (size_t at = kSignatureSize; at < bytes.size();) {
    const std::span<const uint8_t> rest = bytes.subspan(at);
    if (rest.size() < kChunkOverhead) break;
    const size_t length = Big32(rest, 0);
    if (length > rest.size() - kChunkOverhead) break;
    const std::span<const uint8_t> chunk = rest.first(length + kChunkOverhead);
    const std::span<const uint8_t> data = chunk.subspan(8, length);
    at += chunk.size();

    const bool is_header = HasPrefix(chunk, "IHDR", 4);
    if (is_header != first) return Malformed();
    first = false;
    if (is_header) {
      if (absl::Status status = ReadHeader(data, out, &needs_palette); !status.ok()) {
        return status;
      }
    } else if (HasPrefix(chunk, "eXIf", 4)) {
      out.exif.assign(1, data);
    } else if (HasPrefix(chunk, "iTXt", 4)) {
      ReadText(data, out);
    }
    if (!IsCritical(chunk)) continue;
    const bool is_end = HasPrefix(chunk, "IEND", 4);
    const bool is_data = HasPrefix(chunk, "IDAT", 4);
    const bool is_palette = HasPrefix(chunk, "PLTE", 4);
    if (!is_header && !is_end && !is_data && !is_palette) return Malformed();
    if (is_palette) needs_palette = false;
    if (is_data && needs_palette) return Malformed();
    has_data = has_data || is_data;
    out.payload.push_back(chunk);
    if (!is_end) continue;
    if (!has_data) return Malformed();
    return out;
  }
  return absl::InvalidArgumentError("image: PNG is cut short");
}

}  // namespace concertina
