#include "client/bench/pacer.h"

#include <algorithm>

namespace concertina::bench {

Pacer::Pacer(const Options& options) : options_(options), random_(options.seed) {}

std::optional<Pacer::Offset> Pacer::Next(Offset now) {
  const std::lock_guard lock(mutex_);
  if (options_.requests > 0 && given_ == options_.requests) return std::nullopt;
  // The first request is due at once, each other one an exponentially distributed time later.
  if (given_ > 0 && options_.rate > 0) {
    due_ += Offset(std::exponential_distribution<double>(options_.rate)(random_));
  }
  if (options_.last.has_value() && std::max(due_, now) > *options_.last) return std::nullopt;
  ++given_;
  return due_;
}

}  // namespace concertina::bench
