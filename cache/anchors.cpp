#include "cache/anchors.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "cache/check.h"

namespace concertina {

int32_t KeptCount(int64_t n, int32_t entries) {
  const int64_t most = std::min<int64_t>(n, entries);
  return static_cast<int32_t>(std::max<int64_t>(most, std::min(entries, 2)));
}

std::vector<int32_t> SelectAnchors(std::span<const float> scores, int64_t n) {
  const auto entries = static_cast<int32_t>(scores.size());
  const int32_t kept = KeptCount(n, entries);
  std::vector<int32_t> order(static_cast<size_t>(entries));
  std::iota(order.begin(), order.end(), 0);
  if (kept == entries) {
    return order;
  }
  // kept < entries implies kept >= 2 and at least one entry between the first and the last.
  const auto value = [&scores](int32_t i) {
    return std::isnan(scores[i]) ? -std::numeric_limits<float>::infinity() : scores[i];
  };
  std::nth_element(order.begin() + 1, order.begin() + kept - 1, order.end() - 1,
                   [&value](int32_t a, int32_t b) {
                     const float score_a = value(a);
                     const float score_b = value(b);
                     return score_a != score_b ? score_a > score_b : a < b;
                   });
  order[kept - 1] = entries - 1;
  order.resize(kept);
  std::sort(order.begin(), order.end());
  return order;
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
