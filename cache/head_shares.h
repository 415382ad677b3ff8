#pragma once

#include <cstdint>
#include <span>
#include <vector>

// How what a layer keeps is split over its KV heads, where heads may differ in how much they hold
// (after Ada-KV, arXiv 2407.11550). Pure functions.

namespace concertina {

// Of every head's equal share this part is safe from the other heads.
constexpr double kSafeShare = 0.5;

// worth[h]: of every entry of head h, as a policy ranks them. Each head's worth is first divided by
// its sum, so that heads are compared by how their attention is spread, not by its size; without
// the first entry, to which some heads pay most of it, and the newest, both of which stay. A head
// keeps its best kSafeShare x keep entries, or all it has, but at least `least`; what is left of
// keep x heads goes to the entries that are worth most, whichever head they are of; ties to the
// lower head. NaN is worth nothing. Counts add up to min(keep x heads, all entries).
// REQUIRES: keep >= least.
std::vector<int32_t> SplitByWorth(std::span<const std::vector<float>> worth, int32_t keep,
                                  int32_t least);

// While decoding: total entries over heads that hold holds[h], in proportion to what they had after
// the last fold; none under `least`, if it holds as many, nor over what it holds.
std::vector<int32_t> SplitAsFolded(int64_t total, std::span<const int32_t> folded,
                                   std::span<const int32_t> holds, int32_t least);

// Moves as few entries as it takes from head to head that the counts fill no more than pages_max
// pages: heads give up the page of which they use least, and the entries go where pages have room.
// The sum stays the same; no head gets more than holds[h], nor less than `least` for it.
// REQUIRES: pages_max x entries_per_page >= the sum, no count below `least` unless the head holds
// less.
void FitPages(int64_t pages_max, int32_t entries_per_page, std::span<const int32_t> holds,
              int32_t least, std::vector<int32_t>* counts);

}  // namespace concertina
