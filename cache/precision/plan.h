#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cache/layer_shares.h"
#include "cache/precision/group_kinds.h"

// What a granted payload buys when bits are given up before entries (docs/precision.md): all
// entries as rows; then ever fewer as rows and the others in groups of 4/4 bits (keys/values); 4/4
// and 4/3; 4/3 and 3/2; at last 3/2 for some and nothing for the others.

namespace concertina {

// The first and the newest entry.
constexpr int32_t kFloorRows = 2;

// One head of a layer. Rows are the first and the newest entry and, while some kind of group is
// better than none, the worthiest others; then come the groups, those of more bits first.
struct HeadPlan {
  int32_t rows = 0;
  int32_t high = 0;  // groups
  int32_t low = 0;   // groups

  bool operator==(const HeadPlan&) const = default;
  // Entries it has room for.
  int64_t room() const { return rows + int64_t{kGroupEntries} * (high + low); }
};

struct PrecisionPlan {
  int high = 0;                  // kinds of groups, of all layers
  int low = 0;                   // not better than `high`
  std::vector<HeadPlan> layers;  // the same for every head of a layer
  int32_t window = 0;            // rows that decoding may add to a head before others leave
  int64_t payload_bytes = 0;     // of one head of every layer together, without the window
};

// Spends `payload_bytes`, meant for one KV head of every layer together, on layers that hold
// holds[l] entries per head, in rows of row_bytes or groups of head_dim. What it buys never costs
// more, unless the floor of two rows per layer does, or room for split.floor entries. Where entries
// must go, layers share what is left by `split` (LayerShares), in whole groups; otherwise all
// layers have the same share of the better kind. Room for entries is at most a group more than a
// layer holds. REQUIRES: holds[l] >= 0.
PrecisionPlan PlanPrecision(int64_t payload_bytes, std::span<const int32_t> holds,
                            const GroupKinds& kinds, int64_t row_bytes, const LayerSplit& split);

}  // namespace concertina
