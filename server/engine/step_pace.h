#pragma once

#include <chrono>
#include <optional>

namespace concertina {

// Shares the engine's time between prompts and running answers. Prompts get, from the end of one
// decode step to the beginning of the next, a share of what a decode step takes: then no token
// comes later than 1 + share times its undisturbed pace, and a prompt takes 1 + 1 / share times its
// own time, however many answers there are and however fast the machine is. Engine thread only.
class StepPace {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  using Nanoseconds = std::chrono::nanoseconds;

  // `most`: however long decode steps are.
  StepPace(double share, Nanoseconds most) : share_(share), most_(most) {}

  void OnDecode(TimePoint begin, TimePoint end);

  // Until when prompts may be computed. With answers running, counted from the end of the last
  // decode step, so that what else the engine did since then is paid for, too; nothing when that is
  // over already, but not twice in a row. Without, a moment: the engine looks for commands then.
  std::optional<TimePoint> PromptsUntil(TimePoint now, bool answering);

 private:
  const double share_;
  const Nanoseconds most_;
  Nanoseconds decode_{0};  // moving average of a decode step
  TimePoint decode_end_{};
  bool passed_ = false;  // prompts got nothing since the last decode step but one
};

}  // namespace concertina
