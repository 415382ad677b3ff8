#include "models/kernels/packed_groups.h"

#include "cache/check.h"
#include "models/kernels/packed_layout.h"

namespace concertina {

static_assert(kWeighedGroupsMax == isa::kPackedBlocksMax);

isa::PackedLayout PackedLayoutOf(const GroupLayout& layout) {
  CONCERTINA_CHECK(layout.blocks() <= isa::kPackedBlocksMax, "heads are too large for groups");
  return {.head_dim = layout.head_dim(),
          .key = {.bits = layout.bits().key,
                  .tiles = layout.key_tile(0, 0),
                  .tile_bytes = TileBytes(layout.bits().key),
                  .scales = layout.key_scales(),
                  .zeros = layout.key_zeros()},
          .value = {.bits = layout.bits().value,
                    .tiles = layout.value_tile(0, 0),
                    .tile_bytes = TileBytes(layout.bits().value),
                    .scales = layout.value_scales(),
                    .zeros = layout.value_zeros()}};
}

void ScoreGroup(const GroupLayout& layout, const uint8_t* group, const float* q, int64_t heads,
                float* scores, int64_t score_row) {
  const isa::PackedLayout packed = PackedLayoutOf(layout);
  isa::Active().score_packed({.layout = &packed,
                              .group = group,
                              .q = q,
                              .heads = heads,
                              .scores = scores,
                              .score_row = score_row});
}

void WeighGroups(const GroupLayout& layout, std::span<const uint8_t* const> groups,
                 const float* weights, int64_t weight_row, int64_t heads, float* values) {
  CONCERTINA_CHECK(!groups.empty() && groups.size() <= kWeighedGroupsMax, "too many groups");
  const isa::PackedLayout packed = PackedLayoutOf(layout);
  isa::Active().weigh_packed({.layout = &packed,
                              .groups = groups.data(),
                              .groups_count = static_cast<int64_t>(groups.size()),
                              .weights = weights,
                              .weight_row = weight_row,
                              .heads = heads,
                              .values = values});
}

}  // namespace concertina
