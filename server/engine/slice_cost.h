#pragma once

#include <array>
#include <chrono>
#include <cstdint>

#include "absl/functional/function_ref.h"

namespace concertina {

// Predicts how long a slice of work takes from how long earlier ones took. A slice has shares of a
// few kinds of work, in multiply-adds or what takes about as long; each kind has a price, and the
// prices follow what is measured (normalised least mean squares, no price below zero). Engine
// thread only.
class SliceCost {
 public:
  static constexpr int kKinds = 4;
  using Shares = std::array<double, kKinds>;
  using Nanoseconds = std::chrono::nanoseconds;

  bool known() const { return learned_ > 0; }
  // REQUIRES: known().
  Nanoseconds Predict(const Shares& shares) const;
  void Learn(const Shares& shares, Nanoseconds taken);

 private:
  Shares prices_{};  // nanoseconds per unit
  int64_t learned_ = 0;
};

// The largest n = unit, 2 unit, ... up to `most` (itself included) that `shares_of(n)` predicts to
// take no longer than `time`; 0 when not even a unit does. A unit while nothing is known.
int64_t RowsThatFit(const SliceCost& cost, SliceCost::Nanoseconds time, int64_t unit, int64_t most,
                    absl::FunctionRef<SliceCost::Shares(int64_t rows)> shares_of);

}  // namespace concertina
