#pragma once

#include <cstdint>
#include <span>

#include "cache/precision/code_tile.h"
#include "cache/precision/key_feedback.h"

// Entries of one (session, layer, KV head) in groups of 32 at few bits per element. A stored
// element is scale x (code + zero / 2), with an 8-bit scale (small_scale.h) and a signed 8-bit
// zero: per channel for the keys, which have channels of very different size, per entry and 32
// channels for the values. Codes are whole numbers times a scale: an element is the same float
// wherever it is read.
//
// group = [key tiles][key scales][key zeros][value tiles][value scales][value zeros]
//   key tiles      [16 entries each: 2][32 channels each]                     code_tile.h
//   key scales, zeros    [channels]
//   value tiles    [16 channels each]
//   value scales, zeros  [32 channels each][32 entries]
// Channels are padded to a multiple of 32.

namespace concertina {

constexpr int kGroupEntries = kTileDepth;
static_assert(kGroupEntries == 2 * kTileLanes);

// Bits per element, 2 to 4.
struct GroupBits {
  int key = 4;
  int value = 4;

  bool operator==(const GroupBits&) const = default;
};

// Offsets and counts in bytes unless named otherwise. Immutable.
class GroupLayout {
 public:
  // REQUIRES: head_dim >= 1, bits within 2 to 4.
  GroupLayout(int64_t head_dim, GroupBits bits);

  GroupBits bits() const { return bits_; }
  int64_t head_dim() const { return head_dim_; }
  // Channels with their padding, and blocks of 32 of them.
  int64_t channels() const { return blocks_ * kTileDepth; }
  int64_t blocks() const { return blocks_; }
  // Of a whole group, however many of its entries are there: all of it is payload.
  int64_t bytes() const { return value_zeros() + blocks_ * kGroupEntries; }

  int64_t key_tile(int64_t half, int64_t block) const {
    return (half * blocks_ + block) * TileBytes(bits_.key);
  }
  int64_t key_scales() const { return 2 * blocks_ * TileBytes(bits_.key); }
  int64_t key_zeros() const { return key_scales() + channels(); }
  // `half`: which 16 channels of the block.
  int64_t value_tile(int64_t block, int64_t half) const {
    return key_zeros() + channels() + (2 * block + half) * TileBytes(bits_.value);
  }
  int64_t value_scales() const { return value_tile(blocks_, 0); }
  int64_t value_zeros() const { return value_scales() + blocks_ * kGroupEntries; }

 private:
  GroupBits bits_;
  int64_t head_dim_;
  int64_t blocks_;
};

// Fills a group from rows k and v, [count][head_dim]; entries from `count` on are of no value. Each
// element comes back within half of the scale it got, which is its range over the codes, rounded up
// by at most an eighth (more where the range lies further than 63 scales from zero); with
// `feedback` a key's channels make up for one another's errors, further off than that each, but
// closer together as queries see them. Elements that are not finite, or too large for any scale,
// come back as some finite number, and so may others of their key. The result depends on nothing
// but the arguments: it is the same on every machine.
// REQUIRES: 1 <= count <= kGroupEntries; `feedback` is of head_dim channels, if it is not none().
void QuantiseGroup(const GroupLayout& layout, const float* k, const float* v, int count,
                   uint8_t* group, const KeyFeedback& feedback = KeyFeedback());

// What QuantiseGroup stored: rows [count][head_dim].
void LoadGroupKeys(const GroupLayout& layout, const uint8_t* group, int count, float* k);
void LoadGroupValues(const GroupLayout& layout, const uint8_t* group, int count, float* v);

// One entry: `index` of the group.
void LoadGroupKey(const GroupLayout& layout, const uint8_t* group, int index, float* k);
void LoadGroupValue(const GroupLayout& layout, const uint8_t* group, int index, float* v);

// Stores an entry in the place `index` of a group. Its key is rounded to the grid that the group's
// keys have; where that ends more than a scale before it, the channel has a wider grid, to which
// the keys of the entries there (`present`: bit i for entry i) are rounded again. All else of them
// stays as it is.
void PutInGroup(const GroupLayout& layout, int index, const float* k, const float* v,
                uint32_t present, uint8_t* group);

// Rounds other keys in place of the group's: those of rotated entries. Values stay.
void ReplaceGroupKeys(const GroupLayout& layout, const float* k, int count, uint8_t* group);

}  // namespace concertina
