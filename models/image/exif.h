#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace concertina {

// The orientation tag (0x0112) of the first directory of an EXIF block, a TIFF structure, with or
// without its "Exif" prefix. nullopt when there is none or the block is not readable. The value may
// lie outside 1..8, which means upright. Source: EXIF 2.3 section 4.6.4.
std::optional<uint32_t> OrientationFromExif(std::span<const uint8_t> exif);

// The same from an XMP packet's tiff:Orientation, which Pillow uses when EXIF has none.
std::optional<uint32_t> OrientationFromXmp(std::span<const uint8_t> xmp);

}  // namespace concertina
