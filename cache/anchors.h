#pragma once

#include <cstdint>
#include <span>
#include <vector>

// Which entries a fold keeps, as pure functions of scores (Elastic Cache, arXiv 2407.18121, section
// 3).

namespace concertina {

// How many of `entries` are kept when n are asked for: at most all, at least the first and the
// last.
int32_t KeptCount(int64_t n, int32_t entries);

// Ascending indices of the KeptCount(n) entries kept: the first, the last, and of the others those
// with the highest scores; ties to the lower index. NaN counts as the lowest score.
std::vector<int32_t> SelectAnchors(std::span<const float> scores, int64_t n);

// The same with a wider frame: the first `sinks` and the newest `recent` entries are kept before
// any other. When n is too small for both, all but the newest are sinks first. REQUIRES: both >= 1.
std::vector<int32_t> SelectAround(std::span<const float> scores, int64_t n, int32_t sinks,
                                  int32_t recent);

// Of every entry a number of its own, the lower the sooner SelectAround keeps it: the sinks, the
// recent ones from the newest back, the others by score. Keeping the first, the newest and the n -
// 2 lowest of the others is SelectAround.
std::vector<uint64_t> OrderKeys(std::span<const float> scores, int32_t sinks, int32_t recent);

// Index of the lowest score outside the first and the newest `recent` entries, ties to the lower
// index; 1, the oldest after the first, should they leave nothing to choose.
int32_t LowestBefore(std::span<const float> scores, int32_t recent);

// A run of entries, both ends inclusive.
struct Bucket {
  int32_t first;
  int32_t last;
};

// Splits 0..entries-1 into one contiguous bucket per anchor, cut at floor((t_k + t_{k+1}) / 2): the
// entry at the cut belongs to the left anchor. REQUIRES: anchors ascending, not empty, all <
// entries.
std::vector<Bucket> Buckets(std::span<const int32_t> anchors, int32_t entries);

}  // namespace concertina
