#include "cache/entry_layout.h"

#include <bit>
#include <cstring>

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

}  // namespace

int64_t ElementBytes(EntryType type) { return type == EntryType::kF32 ? 4 : 2; }

EntryLayout::EntryLayout(CacheShape shape, EntryType type, int64_t page_bytes)
    : type_(type),
      head_dim_(shape.head_dim),
      page_bytes_(page_bytes),
      vector_bytes_(shape.head_dim * ElementBytes(type)),
      entries_per_page_(page_bytes / entry_bytes()),
      v_offset_(entries_per_page_ * vector_bytes_),
      meta_offset_(2 * v_offset_) {
  CONCERTINA_CHECK(shape.head_dim >= 1, "a head needs at least one dimension");
  CONCERTINA_CHECK(entries_per_page_ >= 1, "a page must hold at least one entry");
}

int64_t PageBytesFor(CacheShape shape) {
  constexpr int64_t kEntries = 4;
  const int64_t payload = 2 * shape.head_dim * ElementBytes(EntryType::kBf16);
  return kEntries * (payload + static_cast<int64_t>(sizeof(EntryMeta)));
}

void StoreVector(EntryType type, const float* values, int64_t count, uint8_t* out) {
  if (type == EntryType::kF32) {
    std::memcpy(out, values, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    const uint16_t stored = ToBf16(values[i]);
    std::memcpy(out + 2 * i, &stored, sizeof(stored));
  }
}

void LoadVector(EntryType type, const uint8_t* stored, int64_t count, float* out) {
  if (type == EntryType::kF32) {
    std::memcpy(out, stored, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    uint16_t value;
    std::memcpy(&value, stored + 2 * i, sizeof(value));
    out[i] = FromBf16(value);
  }
}

}  // namespace concertina
