#include "models/kernels/packed_groups.h"

#include "cache/check.h"
#include "models/kernels/isa.h"

namespace concertina {

static_assert(kWeighedGroupsMax == isa::kPackedBlocksMax);

void ScoreGroup(const GroupLayout& layout, const uint8_t* group, const float* q, int64_t heads,
                float* scores, int64_t score_row) {
  CONCERTINA_CHECK(layout.blocks() <= isa::kPackedBlocksMax, "heads are too large for groups");
  isa::Active().score_packed({.bits = layout.bits().key,
                              .tiles = group,
                              .tile_bytes = TileBytes(layout.bits().key),
                              .scales = group + layout.key_scales(),
                              .zeros = group + layout.key_zeros(),
                              .head_dim = layout.head_dim(),
                              .q = q,
                              .q_row = layout.head_dim(),
                              .heads = heads,
                              .scores = scores,
                              .score_row = score_row});
}

void WeighGroups(const GroupLayout& layout, std::span<const uint8_t* const> groups,
                 const float* weights, int64_t weight_row, int64_t heads, float* values) {
  CONCERTINA_CHECK(!groups.empty() && groups.size() <= kWeighedGroupsMax, "too many groups");
  isa::Active().weigh_packed({.bits = layout.bits().value,
                              .groups = groups.data(),
                              .groups_count = static_cast<int64_t>(groups.size()),
                              .tiles = layout.value_tile(0, 0),
                              .tile_bytes = TileBytes(layout.bits().value),
                              .scales = layout.value_scales(),
                              .zeros = layout.value_zeros(),
                              .head_dim = layout.head_dim(),
                              .weights = weights,
                              .weight_row = weight_row,
                              .heads = heads,
                              .values = values});
}

}  // namespace concertina
