#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace concertina {

// How entries are to be split over layers: by weights that rise linearly from 2/(1+r) at the first
// layer to 2r/(1+r) at the last (r = 1: all equal), or by one weight > 0 per layer, which the
// caller keeps.
struct LayerSplit {
  LayerSplit(double slope) : slope_r(slope) {}  // NOLINT(google-explicit-constructor)
  explicit LayerSplit(std::span<const double> layer_weights) : weights(layer_weights) {}

  double slope_r = 1.0;
  std::span<const double> weights;  // empty: slope_r
  int32_t floor = 2;  // a layer's least, if it holds as many: the first and the newest
};

// Splits `total_entries_per_head` (n x layers, counted for one KV head) over the layers. A layer
// gets at least split.floor entries and at most what it holds; what it cannot use, or needs more,
// is given to or taken from the others in proportion to their weights. Shares are floored and the
// remainder goes one entry each from the deepest layer down.
//
// The sum is exactly min(max(total, sum of min(floor, holds)), sum of holds).
// REQUIRES: weights or slope_r > 0, as many weights as layers, holds[l] >= 0.
std::vector<int32_t> LayerShares(int64_t total_entries_per_head, const LayerSplit& split,
                                 std::span<const int32_t> holds);
// The same into a vector that is used again: this is asked for every token.
void LayerShares(int64_t total_entries_per_head, const LayerSplit& split,
                 std::span<const int32_t> holds, std::vector<int32_t>* shares);

}  // namespace concertina
