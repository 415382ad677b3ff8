#pragma once

#include <cstdint>
#include <vector>

namespace concertina::bench {

// What a set of measurements looks like; all zero if there are none.
struct Distribution {
  int64_t count = 0;
  double mean = 0;
  double median = 0;
  double p95 = 0;
  double p99 = 0;
  double max = 0;
};

// The value below which `share`, in [0, 1], of the ascending values lie: linear between the two
// nearest ranks (NumPy's default). REQUIRES: not empty.
double Percentile(const std::vector<double>& ascending, double share);

Distribution Describe(std::vector<double> values);

}  // namespace concertina::bench
