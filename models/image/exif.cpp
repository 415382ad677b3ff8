#include "models/image/exif.h"

#include <string_view>

#include "models/image/byte_order.h"
#include "models/image/image_container.h"

namespace concertina {
namespace {

constexpr uint32_t kOrientationTag = 0x0112;
constexpr uint32_t kTypeShort = 3;
constexpr uint32_t kTypeLong = 4;
constexpr size_t kEntrySize = 12;
constexpr char kPrefix[] = "Exif\0\0";

struct TiffReader {
  std::span<const uint8_t> bytes;
  bool big_endian;

  uint32_t U16(size_t at) const { return big_endian ? Big16(bytes, at) : Little16(bytes, at); }
  uint32_t U32(size_t at) const { return big_endian ? Big32(bytes, at) : Little32(bytes, at); }
};

}  // namespace

std::optional<uint32_t> OrientationFromExif(std::span<const uint8_t> exif) {
  // Pillow strips the prefix up to twice: some writers add one of their own.
  for (int i = 0; i < 2 && HasPrefix(exif, kPrefix); ++i) exif = exif.subspan(sizeof(kPrefix) - 1);
  const bool big_endian = HasPrefix(exif, "MM\0\x2a");
  if (exif.size() < 8 || (!big_endian && !HasPrefix(exif, "II\x2a\0"))) return std::nullopt;
  const TiffReader tiff{exif, big_endian};
  const size_t directory = tiff.U32(4);
  if (directory > exif.size() || exif.size() - directory < 2) return std::nullopt;
  const size_t entries = tiff.U16(directory);
  std::optional<uint32_t> orientation;
  size_t at = directory + 2;
  for (size_t i = 0; i < entries && exif.size() - at >= kEntrySize; ++i, at += kEntrySize) {
    if (tiff.U16(at) != kOrientationTag || tiff.U32(at + 4) != 1) continue;
    const uint32_t type = tiff.U16(at + 2);
    if (type == kTypeShort) orientation = tiff.U16(at + 8);
    if (type == kTypeLong) orientation = tiff.U32(at + 8);
  }
  return orientation;
}

std::optional<uint32_t> OrientationFromXmp(std::span<const uint8_t> xmp) {
  constexpr std::string_view kName = "tiff:Orientation";
  const std::string_view text(reinterpret_cast<const char*>(xmp.data()), xmp.size());
  for (size_t at = text.find(kName); at != text.npos; at = text.find(kName, at + 1)) {
    std::string_view rest = text.substr(at + kName.size());
    if (rest.starts_with("=\"")) {
      rest.remove_prefix(2);
    } else if (rest.starts_with(">")) {
      rest.remove_prefix(1);
    } else {
      continue;
    }
    if (!rest.empty() && rest[0] >= '0' && rest[0] <= '9') return rest[0] - '0';
  }
  return std::nullopt;
}

}  // namespace concertina
