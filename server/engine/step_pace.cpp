#include "server/engine/step_pace.h"

#include <algorithm>

namespace concertina {
namespace {

// How fast the average follows: eight steps are a tenth of a second.
constexpr double kWeight = 0.25;
// A step this much longer than usual was disturbed from outside: it counts as this long.
constexpr double kMostGrowth = 2;
// Commands do not wait longer than this for a prompt that runs alone.
constexpr std::chrono::milliseconds kAlone{20};

}  // namespace

void StepPace::OnDecode(TimePoint begin, TimePoint end) {
  decode_end_ = end;
  const auto taken = static_cast<double>((end - begin).count());
  const auto usual = static_cast<double>(decode_.count());
  if (usual == 0) {
    decode_ = end - begin;
    return;
  }
  const double counted = std::min(taken, kMostGrowth * usual);
  decode_ = Nanoseconds(static_cast<int64_t>(usual + kWeight * (counted - usual)));
}

std::optional<StepPace::TimePoint> StepPace::PromptsUntil(TimePoint now, bool answering) {
  if (!answering) return now + std::min<Nanoseconds>(most_, kAlone);
  const auto share = static_cast<int64_t>(share_ * static_cast<double>(decode_.count()));
  const TimePoint until = decode_end_ + std::min(most_, Nanoseconds(share));
  if (until > now) {
    passed_ = false;
    return until;
  }
  passed_ = !passed_;
  if (passed_) return std::nullopt;
  return now;
}

}  // namespace concertina
