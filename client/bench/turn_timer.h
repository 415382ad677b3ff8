#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

namespace concertina::bench {

using Clock = std::chrono::steady_clock;

// Seconds of one answered turn as its client saw them.
struct TurnTimes {
  double first_token = 0;           // from sending to the first token
  double last_token = 0;            // from sending to the last one
  double end = 0;                   // from sending to the status
  std::vector<double> inter_token;  // gaps; one per token after those of the first piece
  int64_t tokens = 0;               // that arrived
  double PerOutputToken() const;    // (last - first) / (tokens - 1). REQUIRES: tokens >= 2
};

// Takes the times of one turn's pieces. A piece may carry several tokens (a slow reader gets them
// joined): its gap then counts once for each, divided by their number, so that the sum stays the
// time that passed. For one thread.
class TurnTimer {
 public:
  explicit TurnTimer(Clock::time_point sent) : sent_(sent) {}

  // A piece with `tokens` tokens arrived; none are no piece.
  void Add(int64_t tokens, Clock::time_point now);
  // The status arrived.
  const TurnTimes& End(Clock::time_point now);

 private:
  double SinceSent(Clock::time_point now) const;

  Clock::time_point sent_;
  TurnTimes times_;
};

}  // namespace concertina::bench
