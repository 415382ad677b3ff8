#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace concertina::eval {

// A 95 % interval.
struct Interval {
  double low = 0;
  double high = 0;
};

// One record's part of a weighted mean: sum of the values and of their weights.
struct Part {
  double sum = 0;
  double weight = 0;
};

// Sum of the sums over sum of the weights; 0 without weight.
double Mean(std::span<const Part> parts);

// Percentile bootstrap of Mean over records, which are drawn anew as wholes (Efron 1979). The same
// seed gives the same interval. Of one record or none: its mean.
Interval Bootstrap(std::span<const Part> parts, uint64_t seed);

// Interval of a share of `right` in `total` (Wilson 1927); {0, 1} of nothing.
Interval Wilson(int64_t right, int64_t total);

// ROUGE-L F1 of two token sequences (Lin 2004): twice the longest common subsequence over the sum
// of the lengths. 1 for two empty ones.
double RougeL(std::span<const int32_t> one, std::span<const int32_t> other);

}  // namespace concertina::eval
