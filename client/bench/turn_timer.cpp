#include "client/bench/turn_timer.h"

namespace concertina::bench {

double TurnTimes::PerOutputToken() const {
  return (last_token - first_token) / static_cast<double>(tokens - 1);
}

double TurnTimer::SinceSent(Clock::time_point now) const {
  return std::chrono::duration<double>(now - sent_).count();
}

void TurnTimer::Add(int64_t tokens, Clock::time_point now) {
  if (tokens <= 0) return;
  const double at = SinceSent(now);
  if (times_.tokens == 0) {
    times_.first_token = at;
  } else {
    const double gap = (at - times_.last_token) / static_cast<double>(tokens);
    times_.inter_token.insert(times_.inter_token.end(), static_cast<size_t>(tokens), gap);
  }
  times_.last_token = at;
  times_.tokens += tokens;
}

const TurnTimes& TurnTimer::End(Clock::time_point now) {
  times_.end = SinceSent(now);
  return times_;
}

}  // namespace concertina::bench
