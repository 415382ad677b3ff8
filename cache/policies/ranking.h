#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "cache/fading.h"
#include "cache/policies/policy.h"

// What policies that rank per KV head have in common.

namespace concertina {

// worth_of(head, index): what an entry is worth.
template <typename WorthOf>
Ranking RankPerHead(const LayerView& layer, WorthOf worth_of) {
  Ranking ranking;
  for (int32_t head = 0; head < layer.kv_heads; ++head) {
    std::vector<float> worth(static_cast<size_t>(layer.entries));
    for (int32_t i = 0; i < layer.entries; ++i) {
      worth[i] = worth_of(head, i);
    }
    ranking.worth.push_back(std::move(worth));
  }
  return ranking;
}

// The same under a budget that is shared by more and more turns: what earlier ones left has faded.
template <typename WorthOf>
Ranking RankFading(const LayerView& layer, WorthOf worth_of) {
  Ranking ranking = RankPerHead(layer, worth_of);
  if (layer.fading.empty()) return ranking;
  for (int32_t head = 0; head < layer.kv_heads; ++head) {
    Fade(layer.turn_starts, layer.fading, layer.birth + head * layer.capacity, ranking.worth[head]);
  }
  return ranking;
}

// S of an entry over the number of queries that could see it. Entries of a picture, which says its
// patches in an order without a meaning, have one number, that of the middle one: over their own
// the last patches, which hardly another sees, would be worth the most.
inline float MeanAttention(const LayerView& layer, int32_t head, int32_t index) {
  const int64_t at = head * layer.capacity + index;
  int64_t birth = layer.birth[at];
  if (const TokenSpan* picture = SpanWith(birth, layer.pictures)) {
    birth = picture->first + picture->count / 2;
  }
  return layer.score[at] / static_cast<float>(layer.seen_after - birth);
}

// The entry to delete: the one with the least S outside the first and the newest half. Of packed
// entries, of which most have stayed, that with the least mean attention outside the newest
// quarter: whole pictures and texts are among them, and S alone would take their end
// (docs/precision.md).
int32_t LeastAttended(const DecodeView& head);
// One after another; its cap is one below its entries.
std::vector<int32_t> LeastAttended(const DecodeView& head, int32_t count);

// How many of the newest entries stay whatever they are worth where entries are packed: few queries
// have seen them, and at a few bits each they cost little (docs/precision.md).
inline int32_t RecentPacked(int32_t keep) { return std::clamp(keep / 4, 1, 16); }

// PolicyOptions::slope_r of concertina and concertina-hq: 2.5, measured best on SmolLM2, unless it
// is given (1 for an uncalibrated model). INVALID_ARGUMENT outside 1/64 to 64.
absl::StatusOr<double> SlopeOf(const PolicyOptions& options);

}  // namespace concertina
