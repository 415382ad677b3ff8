#include "server/engine/decode_items.h"

#include <utility>

namespace concertina {
namespace {

KvType KvTypeOf(EntryType type) {
  switch (type) {
    case EntryType::kF32:
      return KvType::kF32;
    case EntryType::kBf16:
      return KvType::kBf16;
    case EntryType::kInt8:
    case EntryType::kPacked:  // not the type of a page
      break;
  }
  return KvType::kInt8;
}

PackedHead PackedOf(const HeadCache& head, int tier) {
  const GroupStore::Packed packed = head.groups().packed(tier);
  return {.layout = packed.layout,
          .groups = packed.groups,
          .present = packed.present,
          .count = packed.count};
}

}  // namespace

PageLayout PageLayoutOf(const EntryLayout& layout) {
  return {.head_dim = layout.head_dim(),
          .type = KvTypeOf(layout.type()),
          .k_offset = layout.k_offset(),
          .v_offset = layout.v_offset()};
}

DecodeItem DecodeItemOf(SessionCache& cache, int layer, int head) {
  const HeadCache& held = std::as_const(cache).Head(layer, head);
  return {.head = {.pages = cache.PagePointers(layer, head),
                   .entries = held.rows(),
                   .entries_per_page = cache.layout().entries_per_page()},
          .score_sums = cache.policy().needs_scores() ? cache.LiveScores(layer, head) : nullptr,
          .bias = held.live_bias(),
          .packed = {PackedOf(held, 0), PackedOf(held, 1)}};
}

}  // namespace concertina
