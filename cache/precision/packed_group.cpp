#include "cache/precision/packed_group.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "cache/check.h"
#include "cache/precision/small_scale.h"

namespace concertina {
namespace {

constexpr float kFarthestZero = 127.0F;
// Adding 2^23 rounds to the nearest integer and leaves it in the low bits.
constexpr float kRoundingMagic = 8388608.0F;

struct Grid {
  uint8_t scale;
  int8_t zero;
};

// The grid for elements between low and high: it begins within a quarter of a scale from `low`,
// and its scale is large enough for the zero to fit.
Grid GridFor(float low, float high, int levels) {
  const float farther = std::max(std::fabs(low), std::fabs(high));
  if (!(farther <= std::numeric_limits<float>::max())) return {0, 0};
  const float range = high * 0.5F - low * 0.5F;  // halved: it could overflow
  const float needed = std::max(range / (0.5F * static_cast<float>(levels)),
                                std::fabs(low) / (0.5F * kFarthestZero));
  const uint8_t scale = ToSmallScale(needed);
  const float zero = std::nearbyint(2.0F * (low / FromSmallScale(scale)));
  return {scale, static_cast<int8_t>(std::clamp(zero, -kFarthestZero, kFarthestZero))};
}

// A row's codes. Everything is one rounding after another in f32, in the order written.
void RowCodes(const float* x, const float* inverse, const float* offset, int64_t count, int levels,
              uint8_t* codes) {
  const auto most = static_cast<float>(levels);
  for (int64_t i = 0; i < count; ++i) {
    float code = x[i] * inverse[i] - offset[i];
    code = code > 0.0F ? code : 0.0F;  // NaN as well
    code = code < most ? code : most;
    codes[i] = static_cast<uint8_t>(std::bit_cast<uint32_t>(code + kRoundingMagic));
  }
}

float Element(uint8_t code, float scale, int8_t zero) {
  return scale * (0.5F * static_cast<float>(2 * code + zero));
}

int Levels(int bits) { return (1 << bits) - 1; }

int8_t Zero(const uint8_t* zeros, int64_t i) { return static_cast<int8_t>(zeros[i]); }

// Codes of a group's keys or values, [entry][channel], with their padding 0.
class GroupCodes {
 public:
  explicit GroupCodes(int64_t channels)
      : channels_(channels), bytes_(static_cast<size_t>(kGroupEntries * channels)) {}
  uint8_t* Row(int64_t entry) { return bytes_.data() + entry * channels_; }
  const uint8_t* Row(int64_t entry) const { return bytes_.data() + entry * channels_; }

 private:
  int64_t channels_;
  std::vector<uint8_t> bytes_;
};

// Entries as lanes from `entry` on, channels as depth from `channel` on.
void KeyTile(const GroupCodes& codes, int64_t entry, int64_t channel, TileCodes* tile) {
  for (int lane = 0; lane < kTileLanes; ++lane) {
    const uint8_t* row = codes.Row(entry + lane) + channel;
    for (int quad = 0; quad < kTileQuads; ++quad) {
      std::memcpy(tile->Quad(quad) + lane * 4, row + quad * 4, 4);
    }
  }
}

void FromKeyTile(const TileCodes& tile, int64_t entry, int64_t channel, GroupCodes* codes) {
  for (int lane = 0; lane < kTileLanes; ++lane) {
    uint8_t* row = codes->Row(entry + lane) + channel;
    for (int quad = 0; quad < kTileQuads; ++quad) {
      std::memcpy(row + quad * 4, tile.Quad(quad) + lane * 4, 4);
    }
  }
}

// Channels as lanes from `channel` on, all entries as depth.
void ValueTile(const GroupCodes& codes, int64_t channel, TileCodes* tile) {
  for (int depth = 0; depth < kTileDepth; ++depth) {
    const uint8_t* row = codes.Row(depth) + channel;
    for (int lane = 0; lane < kTileLanes; ++lane) tile->At(depth, lane) = row[lane];
  }
}

void FromValueTile(const TileCodes& tile, int64_t channel, GroupCodes* codes) {
  for (int depth = 0; depth < kTileDepth; ++depth) {
    uint8_t* row = codes->Row(depth) + channel;
    for (int lane = 0; lane < kTileLanes; ++lane) row[lane] = tile.At(depth, lane);
  }
}

void PackKeys(const GroupLayout& layout, const GroupCodes& codes, uint8_t* group) {
  TileCodes tile;
  for (int64_t half = 0; half < 2; ++half) {
    for (int64_t block = 0; block < layout.blocks(); ++block) {
      KeyTile(codes, half * kTileLanes, block * kTileDepth, &tile);
      PackTile(tile, layout.bits().key, group + layout.key_tile(half, block));
    }
  }
}

void UnpackKeys(const GroupLayout& layout, const uint8_t* group, GroupCodes* codes) {
  TileCodes tile;
  for (int64_t half = 0; half < 2; ++half) {
    for (int64_t block = 0; block < layout.blocks(); ++block) {
      UnpackTile(group + layout.key_tile(half, block), layout.bits().key, &tile);
      FromKeyTile(tile, half * kTileLanes, block * kTileDepth, codes);
    }
  }
}

void PackValues(const GroupLayout& layout, const GroupCodes& codes, uint8_t* group) {
  TileCodes tile;
  for (int64_t i = 0; i < 2 * layout.blocks(); ++i) {
    ValueTile(codes, i * kTileLanes, &tile);
    PackTile(tile, layout.bits().value, group + layout.value_tile(i / 2, i % 2));
  }
}

void UnpackValues(const GroupLayout& layout, const uint8_t* group, GroupCodes* codes) {
  TileCodes tile;
  for (int64_t i = 0; i < 2 * layout.blocks(); ++i) {
    UnpackTile(group + layout.value_tile(i / 2, i % 2), layout.bits().value, &tile);
    FromValueTile(tile, i * kTileLanes, codes);
  }
}

void QuantiseKeys(const GroupLayout& layout, const float* k, int count, uint8_t* group) {
  const int64_t d = layout.head_dim();
  std::vector<float> low(k, k + d);
  std::vector<float> high(k, k + d);
  for (int64_t entry = 1; entry < count; ++entry) {
    const float* row = k + entry * d;
    for (int64_t c = 0; c < d; ++c) {
      low[c] = row[c] < low[c] ? row[c] : low[c];
      high[c] = row[c] > high[c] ? row[c] : high[c];
    }
  }
  const int levels = Levels(layout.bits().key);
  for (int64_t c = 0; c < d; ++c) {
    const Grid grid = GridFor(low[c], high[c], levels);
    group[layout.key_scales() + c] = grid.scale;
    group[layout.key_zeros() + c] = static_cast<uint8_t>(grid.zero);
    low[c] = 1.0F / FromSmallScale(grid.scale);
    high[c] = 0.5F * static_cast<float>(grid.zero);
  }
  GroupCodes codes(layout.channels());
  for (int64_t entry = 0; entry < count; ++entry) {
    RowCodes(k + entry * d, low.data(), high.data(), d, levels, codes.Row(entry));
  }
  PackKeys(layout, codes, group);
}

// An entry's codes; its grids go into the group.
void ValueCodes(const GroupLayout& layout, const float* v, int64_t entry, uint8_t* codes,
                uint8_t* group) {
  const int levels = Levels(layout.bits().value);
  for (int64_t block = 0; block < layout.blocks(); ++block) {
    const float* x = v + block * kTileDepth;
    const int64_t n = std::min<int64_t>(kTileDepth, layout.head_dim() - block * kTileDepth);
    const auto [low, high] = std::minmax_element(x, x + n);
    const Grid grid = GridFor(*low, *high, levels);
    const int64_t at = block * kGroupEntries + entry;
    group[layout.value_scales() + at] = grid.scale;
    group[layout.value_zeros() + at] = static_cast<uint8_t>(grid.zero);
    float inverse[kTileDepth];
    float offset[kTileDepth];
    std::fill_n(inverse, kTileDepth, 1.0F / FromSmallScale(grid.scale));
    std::fill_n(offset, kTileDepth, 0.5F * static_cast<float>(grid.zero));
    RowCodes(x, inverse, offset, n, levels, codes + block * kTileDepth);
  }
}

void QuantiseValues(const GroupLayout& layout, const float* v, int count, uint8_t* group) {
  GroupCodes codes(layout.channels());
  for (int64_t entry = 0; entry < count; ++entry) {
    ValueCodes(layout, v + entry * layout.head_dim(), entry, codes.Row(entry), group);
  }
  PackValues(layout, codes, group);
}

}  // namespace

GroupLayout::GroupLayout(int64_t head_dim, GroupBits bits)
    : bits_(bits), head_dim_(head_dim), blocks_((head_dim + kTileDepth - 1) / kTileDepth) {
  CONCERTINA_CHECK(head_dim >= 1, "a head needs at least one dimension");
  CONCERTINA_CHECK(std::min(bits.key, bits.value) >= 2 && std::max(bits.key, bits.value) <= 4,
                   "groups have two to four bits per element");
}

void QuantiseGroup(const GroupLayout& layout, const float* k, const float* v, int count,
                   uint8_t* group) {
  CONCERTINA_CHECK(count >= 1 && count <= kGroupEntries, "a group has 1 to 32 entries");
  std::memset(group, 0, static_cast<size_t>(layout.bytes()));
  QuantiseKeys(layout, k, count, group);
  QuantiseValues(layout, v, count, group);
}

void LoadGroupKeys(const GroupLayout& layout, const uint8_t* group, int count, float* k) {
  GroupCodes codes(layout.channels());
  UnpackKeys(layout, group, &codes);
  const uint8_t* scales = group + layout.key_scales();
  const uint8_t* zeros = group + layout.key_zeros();
  for (int64_t entry = 0; entry < count; ++entry) {
    const uint8_t* row = codes.Row(entry);
    for (int64_t c = 0; c < layout.head_dim(); ++c) {
      *k++ = Element(row[c], FromSmallScale(scales[c]), Zero(zeros, c));
    }
  }
}

void LoadGroupValues(const GroupLayout& layout, const uint8_t* group, int count, float* v) {
  GroupCodes codes(layout.channels());
  UnpackValues(layout, group, &codes);
  const uint8_t* scales = group + layout.value_scales();
  const uint8_t* zeros = group + layout.value_zeros();
  for (int64_t entry = 0; entry < count; ++entry) {
    const uint8_t* row = codes.Row(entry);
    for (int64_t c = 0; c < layout.head_dim(); ++c) {
      const int64_t at = c / kTileDepth * kGroupEntries + entry;
      *v++ = Element(row[c], FromSmallScale(scales[at]), Zero(zeros, at));
    }
  }
}

void LoadGroupKey(const GroupLayout& layout, const uint8_t* group, int index, float* k) {
  const uint8_t* scales = group + layout.key_scales();
  const uint8_t* zeros = group + layout.key_zeros();
  const int lane = index % kTileLanes;
  for (int64_t c = 0; c < layout.head_dim(); ++c) {
    const uint8_t* tile = group + layout.key_tile(index / kTileLanes, c / kTileDepth);
    const auto depth = static_cast<int>(c % kTileDepth);
    k[c] = Element(GetCode(tile, layout.bits().key, depth, lane), FromSmallScale(scales[c]),
                   Zero(zeros, c));
  }
}

void LoadGroupValue(const GroupLayout& layout, const uint8_t* group, int index, float* v) {
  for (int64_t c = 0; c < layout.head_dim(); ++c) {
    const int64_t block = c / kTileDepth;
    const int64_t at = block * kGroupEntries + index;
    const auto in_block = static_cast<int>(c % kTileDepth);
    const uint8_t* tile = group + layout.value_tile(block, in_block / kTileLanes);
    v[c] = Element(GetCode(tile, layout.bits().value, index, in_block % kTileLanes),
                   FromSmallScale(group[layout.value_scales() + at]),
                   Zero(group + layout.value_zeros(), at));
  }
}

void PutInGroup(const GroupLayout& layout, int index, const float* k, const float* v,
                uint8_t* group) {
  const int64_t d = layout.head_dim();
  std::vector<float> inverse(static_cast<size_t>(d));
  std::vector<float> offset(static_cast<size_t>(d));
  std::vector<uint8_t> codes(static_cast<size_t>(d));
  for (int64_t c = 0; c < d; ++c) {
    inverse[c] = 1.0F / FromSmallScale(group[layout.key_scales() + c]);
    offset[c] = 0.5F * static_cast<float>(Zero(group + layout.key_zeros(), c));
  }
  RowCodes(k, inverse.data(), offset.data(), d, Levels(layout.bits().key), codes.data());
  for (int64_t c = 0; c < d; ++c) {
    SetCode(codes[c], layout.bits().key, static_cast<int>(c % kTileDepth), index % kTileLanes,
            group + layout.key_tile(index / kTileLanes, c / kTileDepth));
  }
  ValueCodes(layout, v, index, codes.data(), group);
  for (int64_t c = 0; c < d; ++c) {
    const auto in_block = static_cast<int>(c % kTileDepth);
    SetCode(codes[c], layout.bits().value, index, in_block % kTileLanes,
            group + layout.value_tile(c / kTileDepth, in_block / kTileLanes));
  }
}

void ReplaceGroupKeys(const GroupLayout& layout, const float* k, int count, uint8_t* group) {
  QuantiseKeys(layout, k, count, group);
}

}  // namespace concertina
