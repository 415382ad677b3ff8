#include "cache/precision/packed_group.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <vector>

#include "cache/check.h"
#include "cache/precision/group_codes.h"
#include "cache/precision/group_grid.h"
#include "cache/precision/isa_clones.h"

namespace concertina {
namespace {

// The lowest and highest of every channel of the keys [count][channels].
struct KeyRange {
  std::vector<float> low, high;
};

CONCERTINA_ISA_CLONES
void Widen(const float* row, int64_t channels, float* low, float* high) {
  for (int64_t c = 0; c < channels; ++c) {
    low[c] = row[c] < low[c] ? row[c] : low[c];
    high[c] = row[c] > high[c] ? row[c] : high[c];
  }
}

KeyRange RangeOf(const float* k, int64_t channels, int count) {
  KeyRange range{{k, k + channels}, {k, k + channels}};
  for (int64_t entry = 1; entry < count; ++entry) {
    Widen(k + entry * channels, channels, range.low.data(), range.high.data());
  }
  return range;
}

void StoreKeyGrids(const GroupLayout& layout, const float* k, int count, uint8_t* group) {
  const KeyRange range = RangeOf(k, layout.head_dim(), count);
  for (int64_t c = 0; c < layout.head_dim(); ++c) {
    const Grid grid = GridFor(range.low[c], range.high[c], Levels(layout.bits().key));
    group[layout.key_scales() + c] = grid.scale;
    group[layout.key_zeros() + c] = static_cast<uint8_t>(grid.zero);
  }
}

Grid KeyGrid(const GroupLayout& layout, const uint8_t* group, int64_t channel) {
  return {group[layout.key_scales() + channel], Zero(group + layout.key_zeros(), channel)};
}

// Codes of one entry's n channels, at most kTileDepth, that have these grids.
CONCERTINA_ISA_CLONES
void KeyCodes(const uint8_t* scales, const uint8_t* zeros, const float* k, int64_t n, int levels,
              uint8_t* codes) {
  float inverse[kTileDepth];
  float offset[kTileDepth];
  for (int64_t c = 0; c < n; ++c) {
    inverse[c] = 1.0F / FromSmallScale(scales[c]);
    offset[c] = 0.5F * static_cast<float>(Zero(zeros, c));
  }
  RowCodes(k, inverse, offset, n, levels, codes);
}

// f(first channel, how many) for every block of channels.
template <typename F>
void ForEachBlock(int64_t channels, F f) {
  for (int64_t c = 0; c < channels; c += kTileDepth) {
    f(c, std::min<int64_t>(kTileDepth, channels - c));
  }
}

// A channel's codes and their errors, all entries at a time, and what the channels after it make up
// for: `wanted` is [channel in order][entry], from this channel on, `keys` what its entries are.
struct ChannelStep {
  Grid grid;
  int levels;
  std::span<const float> weights;  // of the channels after this one
  float* wanted;
  const float* keys;
};

CONCERTINA_ISA_CLONES
void RoundChannel(const ChannelStep& step, uint8_t* codes) {
  GridCodes(step.wanted, step.grid, kGroupEntries, step.levels, codes);
  const float scale = FromSmallScale(step.grid.scale);
  float error[kGroupEntries];
  for (int e = 0; e < kGroupEntries; ++e) {
    error[e] = Element(codes[e], scale, step.grid.zero) - step.keys[e];
  }
  float* later = step.wanted;
  for (const float weight : step.weights) {
    later += kGroupEntries;
    for (int e = 0; e < kGroupEntries; ++e) later[e] -= error[e] * weight;
  }
}

// Codes of channels that make up for one another's errors.
void FeedbackCodes(const GroupLayout& layout, const uint8_t* group, const float* k, int count,
                   const KeyFeedback& feedback, GroupCodes* codes) {
  const auto d = static_cast<int64_t>(feedback.order().size());
  std::vector<float> keys(static_cast<size_t>(d * kGroupEntries));
  for (int64_t i = 0; i < d; ++i) {
    const int64_t c = feedback.order()[i];
    for (int64_t e = 0; e < count; ++e) keys[i * kGroupEntries + e] = k[e * d + c];
  }
  std::vector<float> wanted = keys;
  uint8_t code[kGroupEntries];
  for (int64_t i = 0; i < d; ++i) {
    const int64_t c = feedback.order()[i];
    RoundChannel({.grid = KeyGrid(layout, group, c),
                  .levels = Levels(layout.bits().key),
                  .weights = feedback.Weights(i).subspan(static_cast<size_t>(i) + 1),
                  .wanted = wanted.data() + i * kGroupEntries,
                  .keys = keys.data() + i * kGroupEntries},
                 code);
    for (int64_t e = 0; e < count; ++e) codes->Row(e)[c] = code[e];
  }
}

void QuantiseKeys(const GroupLayout& layout, const float* k, int count, const KeyFeedback& feedback,
                  uint8_t* group) {
  const int64_t d = layout.head_dim();
  StoreKeyGrids(layout, k, count, group);
  GroupCodes codes(layout.channels());
  if (!feedback.none()) {
    FeedbackCodes(layout, group, k, count, feedback, &codes);
  } else {
    for (int64_t entry = 0; entry < count; ++entry) {
      ForEachBlock(d, [&](int64_t c, int64_t n) {
        KeyCodes(group + layout.key_scales() + c, group + layout.key_zeros() + c, k + entry * d + c,
                 n, Levels(layout.bits().key), codes.Row(entry) + c);
      });
    }
  }
  PackKeys(layout, codes, group);
}

// Whether the grid of each of n channels ends more than a scale before the newcomer's element.
CONCERTINA_ISA_CLONES
void FarChannels(const uint8_t* scales, const uint8_t* zeros, const float* k, int64_t n, int levels,
                 uint8_t* far) {
  const auto highest = static_cast<uint8_t>(levels);
  for (int64_t c = 0; c < n; ++c) {
    const float scale = FromSmallScale(scales[c]);
    const int8_t zero = Zero(zeros, c);
    const bool near =
        (k[c] >= Element(0, scale, zero) - scale) & (k[c] <= Element(highest, scale, zero) + scale);
    far[c] = near ? 0 : 1;
  }
}

// Widens a channel's grid to the newcomer's element; the codes of the entries there are rounded to
// it.
void WidenChannel(const GroupLayout& layout, int64_t c, float element, uint32_t present,
                  uint8_t* group) {
  if (!std::isfinite(element)) return;
  const int bits = layout.bits().key;
  uint8_t& scale_byte = group[layout.key_scales() + c];
  uint8_t& zero_byte = group[layout.key_zeros() + c];
  const float scale = FromSmallScale(scale_byte);
  const auto zero = static_cast<int8_t>(zero_byte);
  const auto depth = static_cast<int>(c % kTileDepth);
  const auto tile = [&](int half) { return group + layout.key_tile(half, c / kTileDepth); };
  uint8_t codes[kGroupEntries];
  for (int half = 0; half < 2; ++half) {
    GetDepth(tile(half), bits, depth, codes + half * kTileLanes);
  }
  float elements[kGroupEntries];
  float low = element;
  float high = element;
  for (int i = 0; i < kGroupEntries; ++i) {
    elements[i] = Element(codes[i], scale, zero);
    if ((present >> i & 1U) == 0) continue;
    low = std::min(low, elements[i]);
    high = std::max(high, elements[i]);
  }
  const Grid grid = GridFor(low, high, Levels(bits));
  scale_byte = grid.scale;
  zero_byte = static_cast<uint8_t>(grid.zero);
  GridCodes(elements, grid, kGroupEntries, Levels(bits), codes);
  for (int half = 0; half < 2; ++half) {
    SetDepth(codes + half * kTileLanes, bits, depth, tile(half));
  }
}

// Up to 32 of the newcomer's channels, from c on.
void PutKeys(const GroupLayout& layout, int index, int64_t c, int64_t n, const float* k,
             uint32_t present, uint8_t* group) {
  const int bits = layout.bits().key;
  const uint8_t* scales = group + layout.key_scales() + c;
  const uint8_t* zeros = group + layout.key_zeros() + c;
  uint8_t far[kTileDepth];
  FarChannels(scales, zeros, k, n, Levels(bits), far);
  for (int64_t i = 0; i < n; ++i) {
    if (far[i] != 0) WidenChannel(layout, c + i, k[i], present, group);
  }
  uint8_t codes[kTileDepth] = {};
  KeyCodes(scales, zeros, k, n, Levels(bits), codes);
  SetLane(codes, bits, index % kTileLanes,
          group + layout.key_tile(index / kTileLanes, c / kTileDepth));
}

// The lowest and the highest of n elements; some number or NaN where NaN is among them.
CONCERTINA_ISA_CLONES
void Ends(const float* x, int64_t n, float* low, float* high) {
  constexpr int64_t kLanes = 16;
  float lows[kLanes];
  float highs[kLanes];
  for (int64_t lane = 0; lane < kLanes; ++lane) lows[lane] = highs[lane] = x[lane < n ? lane : 0];
  for (int64_t i = kLanes; i + kLanes <= n; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      lows[lane] = x[i + lane] < lows[lane] ? x[i + lane] : lows[lane];
      highs[lane] = x[i + lane] > highs[lane] ? x[i + lane] : highs[lane];
    }
  }
  for (int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (int64_t lane = 0; lane < half; ++lane) {
      lows[lane] = lows[lane + half] < lows[lane] ? lows[lane + half] : lows[lane];
      highs[lane] = highs[lane + half] > highs[lane] ? highs[lane + half] : highs[lane];
    }
  }
  *low = lows[0];
  *high = highs[0];
  for (int64_t i = n / kLanes * kLanes; i < n; ++i) {
    *low = x[i] < *low ? x[i] : *low;
    *high = x[i] > *high ? x[i] : *high;
  }
}

// An entry's codes of n channels of a block; their grid goes into the group.
void ValueBlock(const GroupLayout& layout, int64_t block, const float* v, int64_t n, int64_t entry,
                uint8_t* codes, uint8_t* group) {
  const int levels = Levels(layout.bits().value);
  float low;
  float high;
  Ends(v, n, &low, &high);
  const Grid grid = GridFor(low, high, levels);
  const int64_t at = block * kGroupEntries + entry;
  group[layout.value_scales() + at] = grid.scale;
  group[layout.value_zeros() + at] = static_cast<uint8_t>(grid.zero);
  GridCodes(v, grid, n, levels, codes);
}

void QuantiseValues(const GroupLayout& layout, const float* v, int count, uint8_t* group) {
  GroupCodes codes(layout.channels());
  for (int64_t entry = 0; entry < count; ++entry) {
    ForEachBlock(layout.head_dim(), [&](int64_t c, int64_t n) {
      ValueBlock(layout, c / kTileDepth, v + entry * layout.head_dim() + c, n, entry,
                 codes.Row(entry) + c, group);
    });
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
                   uint8_t* group, const KeyFeedback& feedback) {
  CONCERTINA_CHECK(count >= 1 && count <= kGroupEntries, "a group has 1 to 32 entries");
  std::memset(group, 0, static_cast<size_t>(layout.bytes()));
  QuantiseKeys(layout, k, count, feedback, group);
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
  ForEachBlock(layout.head_dim(), [&](int64_t first, int64_t n) {
    const uint8_t* scales = group + layout.key_scales() + first;
    const uint8_t* zeros = group + layout.key_zeros() + first;
    uint8_t codes[kTileDepth];
    GetLane(group + layout.key_tile(index / kTileLanes, first / kTileDepth), layout.bits().key,
            index % kTileLanes, codes);
    for (int64_t c = 0; c < n; ++c) {
      k[first + c] = Element(codes[c], FromSmallScale(scales[c]), Zero(zeros, c));
    }
  });
}

void LoadGroupValue(const GroupLayout& layout, const uint8_t* group, int index, float* v) {
  ForEachBlock(layout.head_dim(), [&](int64_t first, int64_t n) {
    const int64_t block = first / kTileDepth;
    const int64_t at = block * kGroupEntries + index;
    const float scale = FromSmallScale(group[layout.value_scales() + at]);
    const int8_t zero = Zero(group + layout.value_zeros(), at);
    uint8_t codes[kTileDepth];
    for (int half = 0; half < 2; ++half) {
      GetDepth(group + layout.value_tile(block, half), layout.bits().value, index,
               codes + half * kTileLanes);
    }
    for (int64_t c = 0; c < n; ++c) v[first + c] = Element(codes[c], scale, zero);
  });
}

void PutInGroup(const GroupLayout& layout, int index, const float* k, const float* v,
                uint32_t present, uint8_t* group) {
  ForEachBlock(layout.head_dim(),
               [&](int64_t c, int64_t n) { PutKeys(layout, index, c, n, k + c, present, group); });
  ForEachBlock(layout.head_dim(), [&](int64_t c, int64_t n) {
    const int64_t block = c / kTileDepth;
    uint8_t codes[kTileDepth] = {};
    ValueBlock(layout, block, v + c, n, index, codes, group);
    for (int half = 0; half < 2; ++half) {
      SetDepth(codes + half * kTileLanes, layout.bits().value, index,
               group + layout.value_tile(block, half));
    }
  });
}

void ReplaceGroupKeys(const GroupLayout& layout, const float* k, int count, uint8_t* group) {
  QuantiseKeys(layout, k, count, KeyFeedback(), group);
}

}  // namespace concertina
