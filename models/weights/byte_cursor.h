#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace concertina {

// Reads little-endian values front to back from memory it does not own. Every method returns false,
// and moves nothing, when the rest is too short.
class ByteCursor {
 public:
  ByteCursor(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  size_t position() const { return position_; }
  size_t remaining() const { return size_ - position_; }

  template <typename T>
  bool Read(T* value) {
    if (remaining() < sizeof(T)) return false;
    std::memcpy(value, data_ + position_, sizeof(T));
    position_ += sizeof(T);
    return true;
  }

  bool ReadBytes(uint64_t count, std::string_view* bytes) {
    if (remaining() < count) return false;
    *bytes = std::string_view(reinterpret_cast<const char*>(data_ + position_),
                              static_cast<size_t>(count));
    position_ += static_cast<size_t>(count);
    return true;
  }

  // A u64 length and that many bytes.
  bool ReadString(std::string_view* text) {
    const size_t start = position_;
    uint64_t length = 0;
    if (Read(&length) && ReadBytes(length, text)) return true;
    position_ = start;
    return false;
  }

 private:
  const uint8_t* data_;
  size_t size_;
  size_t position_ = 0;
};

}  // namespace concertina
