#include "cache/anchors.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "cache/check.h"

namespace concertina {

namespace {

// Orders entries: higher scores first, NaN last, equals by index. No two entries have the same.
uint64_t Rank(float score, int32_t index) {
  // Adding 0 makes the two zeros one.
  const float value = std::isnan(score) ? -std::numeric_limits<float>::infinity() : score + 0.0F;
  const auto bits = std::bit_cast<uint32_t>(value);
  const bool negative = bits >> 31 != 0;
  const uint32_t descending = negative ? bits : 0x7fffffffU - bits;
  return uint64_t{descending} << 32 | static_cast<uint32_t>(index);
}

}  // namespace

int32_t KeptCount(int64_t n, int32_t entries) {
  const int64_t most = std::min<int64_t>(n, entries);
  return static_cast<int32_t>(std::max<int64_t>(most, std::min(entries, 2)));
}

std::vector<int32_t> SelectAnchors(std::span<const float> scores, int64_t n) {
  const auto entries = static_cast<int32_t>(scores.size());
  const int32_t kept = KeptCount(n, entries);
  std::vector<int32_t> anchors(static_cast<size_t>(kept));
  if (kept == entries) {
    std::iota(anchors.begin(), anchors.end(), 0);
    return anchors;
  }
  // kept < entries implies kept >= 2 and at least one entry between the first and the last.
  if (kept == 2) {
    anchors.back() = entries - 1;
    return anchors;
  }
  std::vector<uint64_t> ranks(static_cast<size_t>(entries) - 2);
  for (int32_t i = 1; i + 1 < entries; ++i) {
    ranks[i - 1] = Rank(scores[i], i);
  }
  std::vector<uint64_t> order = ranks;
  std::nth_element(order.begin(), order.begin() + kept - 3, order.end());
  const uint64_t limit = order[kept - 3];
  int32_t count = 1;
  for (int32_t i = 1; i + 1 < entries; ++i) {
    if (ranks[i - 1] <= limit) {
      anchors[count++] = i;
    }
  }
  anchors[count] = entries - 1;
  return anchors;
}

std::vector<int32_t> SelectAround(std::span<const float> scores, int64_t n, int32_t sinks,
                                  int32_t recent) {
  const auto entries = static_cast<int32_t>(scores.size());
  const int32_t kept = KeptCount(n, entries);
  if (kept == entries) {
    return SelectAnchors(scores, n);
  }
  const int32_t first = std::min(sinks, kept - 1);
  const int32_t last = std::min(recent, kept - first);
  // The innermost sink and the oldest of the recent frame the choice.
  const auto inner = scores.subspan(static_cast<size_t>(first) - 1,
                                    static_cast<size_t>(entries - first - last) + 2);
  std::vector<int32_t> anchors(static_cast<size_t>(first) - 1);
  std::iota(anchors.begin(), anchors.end(), 0);
  for (const int32_t index : SelectAnchors(inner, kept - first - last + 2)) {
    anchors.push_back(first - 1 + index);
  }
  for (int32_t i = entries - last + 1; i < entries; ++i) {
    anchors.push_back(i);
  }
  return anchors;
}

std::vector<uint64_t> OrderKeys(std::span<const float> scores, int32_t sinks, int32_t recent) {
  const auto entries = static_cast<int32_t>(scores.size());
  std::vector<uint64_t> keys(scores.size());
  for (int32_t i = 0; i < entries; ++i) {
    // No score's rank is below 2^32, and no index reaches 2^31.
    if (i < sinks) {
      keys[i] = static_cast<uint64_t>(i);
    } else if (entries - i <= recent) {
      keys[i] = (uint64_t{1} << 31) + static_cast<uint64_t>(entries - 1 - i);
    } else {
      keys[i] = Rank(scores[i], i);
    }
  }
  return keys;
}

int32_t LowestBefore(std::span<const float> scores, int32_t recent) {
  const auto end = static_cast<int32_t>(scores.size()) - recent;
  int32_t lowest = 1;
  for (int32_t i = 2; i < end; ++i) {
    if (scores[i] < scores[lowest]) {
      lowest = i;
    }
  }
  return lowest;
}

std::vector<Bucket> Buckets(std::span<const int32_t> anchors, int32_t entries) {
  CONCERTINA_CHECK(!anchors.empty() && anchors.back() < entries, "anchors outside the entries");
  std::vector<Bucket> buckets;
  buckets.reserve(anchors.size());
  int32_t first = 0;
  for (size_t i = 0; i + 1 < anchors.size(); ++i) {
    const int32_t cut = anchors[i] + (anchors[i + 1] - anchors[i]) / 2;
    buckets.push_back({.first = first, .last = cut});
    first = cut + 1;
  }
  buckets.push_back({.first = first, .last = entries - 1});
  return buckets;
}

}  // namespace concertina
