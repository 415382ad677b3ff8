#include "client/bench/distribution.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace concertina::bench {

double Percentile(const std::vector<double>& ascending, double share) {
  const double rank = share * static_cast<double>(ascending.size() - 1);
  const auto below = static_cast<size_t>(rank);
  const size_t above = std::min(below + 1, ascending.size() - 1);
  return std::lerp(ascending[below], ascending[above], rank - static_cast<double>(below));
}

Distribution Describe(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  Distribution out;
  out.count = static_cast<int64_t>(values.size());
  out.mean =
      std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  out.median = Percentile(values, 0.5);
  out.p95 = Percentile(values, 0.95);
  out.p99 = Percentile(values, 0.99);
  out.max = values.back();
  return out;
}

}  // namespace concertina::bench
