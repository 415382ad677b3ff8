#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace concertina {

// Splits `total_entries_per_head` (n x layers, counted for one KV head) over the layers.
//
// Weights rise linearly from 2/(1+r) at the first layer to 2r/(1+r) at the last (r = 1: all equal).
// A layer gets at least two entries and at most what it holds; what it cannot use, or needs more,
// is given to or taken from the others in proportion to their weights. Shares are floored and the
// remainder goes one entry each from the deepest layer down.
//
// The sum is exactly min(max(total, sum of min(2, holds)), sum of holds).
// REQUIRES: slope_r > 0, holds[l] >= 0.
std::vector<int32_t> LayerShares(int64_t total_entries_per_head, double slope_r,
                                 std::span<const int32_t> holds);
// The same into a vector that is used again: this is asked for every token.
void LayerShares(int64_t total_entries_per_head, double slope_r, std::span<const int32_t> holds,
                 std::vector<int32_t>* shares);

}  // namespace concertina
