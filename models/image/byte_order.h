#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace concertina {

// Unsigned integers at `bytes[offset...]`. REQUIRES: they lie inside `bytes`.
inline uint32_t Big16(std::span<const uint8_t> bytes, size_t offset) {
  return static_cast<uint32_t>(bytes[offset]) << 8 | bytes[offset + 1];
}
inline uint32_t Big32(std::span<const uint8_t> bytes, size_t offset) {
  return Big16(bytes, offset) << 16 | Big16(bytes, offset + 2);
}
inline uint32_t Little16(std::span<const uint8_t> bytes, size_t offset) {
  return static_cast<uint32_t>(bytes[offset + 1]) << 8 | bytes[offset];
}
inline uint32_t Little24(std::span<const uint8_t> bytes, size_t offset) {
  return static_cast<uint32_t>(bytes[offset + 2]) << 16 | Little16(bytes, offset);
}
inline uint32_t Little32(std::span<const uint8_t> bytes, size_t offset) {
  return Little16(bytes, offset + 2) << 16 | Little16(bytes, offset);
}

}  // namespace concertina
