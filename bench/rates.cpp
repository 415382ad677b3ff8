#include "bench/rates.h"

#include <algorithm>
#include <cstdint>

namespace concertina::bench {

double RateTogether(const std::vector<Arrivals>& answers) {
  auto begin = answers[0].front(), end = answers[0].back();
  for (const Arrivals& tokens : answers) {
    begin = std::max(begin, tokens.front());
    end = std::min(end, tokens.back());
  }
  if (end <= begin) return 0;
  int64_t count = 0;
  for (const Arrivals& tokens : answers) {
    count += std::count_if(tokens.begin(), tokens.end(),
                           [&](BenchClock::time_point at) { return at > begin && at <= end; });
  }
  return static_cast<double>(count) / std::chrono::duration<double>(end - begin).count();
}

}  // namespace concertina::bench
