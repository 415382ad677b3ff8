#pragma once

#include <array>

#include "cache/precision/packed_group.h"

namespace concertina {

// Kinds of groups, the best first. 2-bit keys cost more than they save (docs/precision.md).
constexpr int kGroupKinds = 3;

class GroupKinds {
 public:
  explicit GroupKinds(int64_t head_dim)
      : layouts_{GroupLayout(head_dim, {.key = 4, .value = 4}),
                 GroupLayout(head_dim, {.key = 4, .value = 3}),
                 GroupLayout(head_dim, {.key = 3, .value = 2})} {}

  const GroupLayout& operator[](int kind) const { return layouts_[static_cast<size_t>(kind)]; }

 private:
  std::array<GroupLayout, kGroupKinds> layouts_;
};

}  // namespace concertina
