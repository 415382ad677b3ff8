#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "cache/merge.h"
#include "cache/rotate.h"
#include "cache/turn_rules.h"

namespace concertina {

// How to bring a head's keys to each other's positions.
struct KeyPositions {
  const uint32_t* birth = nullptr;            // of the head's entries
  std::function<int64_t(uint32_t birth)> of;  // where a key is rotated to
  const RotateFn* rotate = nullptr;
};

// The kept entries' K, V and mass after every picture's entries that go were merged into the
// nearest kept entry of the same picture, by birth, ties to the lower. K <- the mean of keys
// without their rotation, rotated to the position of the entry they go to, V <- the mean, both
// weighted by mass, mass <- the sum, saturating at 65535. Sums are f64, results f32. The first, the
// newest and pinned entries accept nothing, nor does anything but pictures' entries: what finds no
// other entry of its picture is dropped. Entries that nothing is merged into stay as they are, bit
// for bit.
MergedHead MergePictures(const HeadEntries& head, std::span<const int32_t> kept,
                         const TurnRules& rules, const KeyPositions& positions);

}  // namespace concertina
