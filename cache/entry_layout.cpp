#include "cache/entry_layout.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "cache/check.h"

namespace concertina {
namespace {

uint16_t ToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffU) > 0x7f800000U) {  // NaN: rounding could turn it into infinity
    return static_cast<uint16_t>((bits >> 16) | 0x40U);
  }
  return static_cast<uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

float FromBf16(uint16_t value) { return std::bit_cast<float>(static_cast<uint32_t>(value) << 16); }

void StoreBf16(const float* x, int64_t count, uint8_t* out) {
  for (int64_t i = 0; i < count; ++i) {
    const uint16_t stored = ToBf16(x[i]);
    std::memcpy(out + 2 * i, &stored, sizeof(stored));
  }
}

void LoadBf16(const uint8_t* stored, int64_t count, float* x) {
  for (int64_t i = 0; i < count; ++i) {
    uint16_t value;
    std::memcpy(&value, stored + 2 * i, sizeof(value));
    x[i] = FromBf16(value);
  }
}

constexpr float kByteMax = 127.0F;

// What was loaded is stored to the same bytes again, unless the scale is denormal: the largest
// byte is 127 and gives the scale back.
void StoreInt8(const float* x, int64_t count, uint8_t* out, uint8_t* scale_out) {
  float largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float magnitude = std::fabs(x[i]);
    largest = magnitude > largest ? magnitude : largest;
  }
  const uint16_t stored = ToBf16(largest / kByteMax);
  std::memcpy(scale_out, &stored, sizeof(stored));
  const float scale = FromBf16(stored);
  // A vector that is not finite has no scale that means anything; its bytes are at least defined.
  const float inverse = scale >= std::numeric_limits<float>::min() ? 1.0F / scale : 0.0F;
  for (int64_t i = 0; i < count; ++i) {
    float rounded = x[i] * inverse;
    rounded = rounded < kByteMax ? rounded : kByteMax;
    rounded = rounded > -kByteMax ? rounded : -kByteMax;
    // Adding 1.5 * 2^23 leaves the nearest integer in the low bits.
    const auto bits = std::bit_cast<uint32_t>(rounded + 12582912.0F);
    out[i] = static_cast<uint8_t>(bits);
  }
}

void LoadInt8(const uint8_t* stored, const uint8_t* stored_scale, int64_t count, float* x) {
  uint16_t bits;
  std::memcpy(&bits, stored_scale, sizeof(bits));
  const float scale = FromBf16(bits);
  for (int64_t i = 0; i < count; ++i) {
    x[i] = scale * static_cast<float>(static_cast<int8_t>(stored[i]));
  }
}

}  // namespace

int64_t ElementBytes(EntryType type) {
  switch (type) {
    case EntryType::kF32:
      return 4;
    case EntryType::kBf16:
      return 2;
    case EntryType::kInt8:
      return 1;
    case EntryType::kPacked:
      break;
  }
  CONCERTINA_CHECK(false, "unknown entry type");
}

int64_t ScaleBytes(EntryType type) { return type == EntryType::kInt8 ? 2 : 0; }

EntryLayout::EntryLayout(CacheShape shape, EntryType type, int64_t page_bytes)
    : type_(type),
      head_dim_(shape.head_dim),
      page_bytes_(page_bytes),
      row_bytes_(shape.head_dim * ElementBytes(type)),
      entries_per_page_(page_bytes / entry_bytes()),
      v_offset_(entries_per_page_ * (row_bytes_ + ScaleBytes(type))),
      meta_offset_(2 * v_offset_) {
  CONCERTINA_CHECK(shape.head_dim >= 1, "a head needs at least one dimension");
  CONCERTINA_CHECK(entries_per_page_ >= 1, "a page must hold at least one entry");
}

double EntryLayout::entries_per_bf16_entry() const {
  if (type_ != EntryType::kInt8) {
    return 1.0;
  }
  const int64_t bf16 = 2 * head_dim_ * ElementBytes(EntryType::kBf16);
  return static_cast<double>(bf16) / static_cast<double>(entry_payload_bytes());
}

void EntryLayout::Store(const float* x, int64_t block, int64_t slot, uint8_t* page) const {
  uint8_t* row = page + block + slot * row_bytes_;
  switch (type_) {
    case EntryType::kF32:
      std::memcpy(row, x, static_cast<size_t>(row_bytes_));
      return;
    case EntryType::kBf16:
      return StoreBf16(x, head_dim_, row);
    case EntryType::kInt8:
      return StoreInt8(x, head_dim_, row, page + block + scales() + slot * ScaleBytes(type_));
    case EntryType::kPacked:
      break;
  }
  CONCERTINA_CHECK(false, "not the type of a page");
}

void EntryLayout::Load(const uint8_t* page, int64_t block, int64_t slot, float* x) const {
  const uint8_t* row = page + block + slot * row_bytes_;
  switch (type_) {
    case EntryType::kF32:
      std::memcpy(x, row, static_cast<size_t>(row_bytes_));
      return;
    case EntryType::kBf16:
      return LoadBf16(row, head_dim_, x);
    case EntryType::kInt8:
      return LoadInt8(row, page + block + scales() + slot * ScaleBytes(type_), head_dim_, x);
    case EntryType::kPacked:
      break;
  }
  CONCERTINA_CHECK(false, "not the type of a page");
}

void EntryLayout::CopyEntry(const uint8_t* from_page, int64_t from, uint8_t* to_page,
                            int64_t to) const {
  const auto copy = [&](int64_t offset, int64_t bytes) {
    std::memcpy(to_page + offset + to * bytes, from_page + offset + from * bytes,
                static_cast<size_t>(bytes));
  };
  copy(0, row_bytes_);
  copy(scales(), ScaleBytes(type_));
  copy(v_offset_, row_bytes_);
  copy(v_offset_ + scales(), ScaleBytes(type_));
  copy(meta_offset_, sizeof(EntryMeta));
}

int64_t PageBytesFor(CacheShape shape) {
  constexpr int64_t kEntries = 4;
  const int64_t payload = 2 * shape.head_dim * ElementBytes(EntryType::kBf16);
  return kEntries * (payload + static_cast<int64_t>(sizeof(EntryMeta)));
}

}  // namespace concertina
