#pragma once

#include <chrono>
#include <vector>

namespace concertina::bench {

using BenchClock = std::chrono::steady_clock;

// Arrival of each token of one answer.
using Arrivals = std::vector<BenchClock::time_point>;

// Tokens a second of all answers together, while the last had begun and the first had not ended;
// 0 when they never ran together. REQUIRES: at least one answer, none of them empty.
double RateTogether(const std::vector<Arrivals>& answers);

}  // namespace concertina::bench
