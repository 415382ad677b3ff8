#include "server/engine/slice_cost.h"

#include <algorithm>

namespace concertina {
namespace {

// How much of an error one measurement corrects.
constexpr double kRate = 0.3;
// A slice during which something else ran tells little: errors count up to this share.
constexpr double kMostError = 0.5;
// So many first measurements count in full, for the very first may have been such a slice.
constexpr int64_t kFirst = 8;

double Sum(const SliceCost::Shares& shares) {
  double sum = 0;
  for (const double share : shares) sum += share;
  return sum;
}

}  // namespace

SliceCost::Nanoseconds SliceCost::Predict(const Shares& shares) const {
  double time = 0;
  for (int i = 0; i < kKinds; ++i) time += prices_[i] * shares[i];
  return Nanoseconds(static_cast<int64_t>(time));
}

void SliceCost::Learn(const Shares& shares, Nanoseconds taken) {
  const auto time = static_cast<double>(taken.count());
  if (learned_++ == 0) return prices_.fill(time / Sum(shares));
  const auto predicted = static_cast<double>(Predict(shares).count());
  double error = time - predicted;
  if (learned_ > kFirst) {
    error = std::clamp(error, -kMostError * predicted, kMostError * predicted);
  }
  double squares = 0;
  for (const double share : shares) squares += share * share;
  for (int i = 0; i < kKinds; ++i) {
    prices_[i] = std::max(0.0, prices_[i] + kRate * error * shares[i] / squares);
  }
}

int64_t RowsThatFit(const SliceCost& cost, SliceCost::Nanoseconds time, int64_t unit, int64_t most,
                    absl::FunctionRef<SliceCost::Shares(int64_t rows)> shares_of) {
  if (!cost.known()) return std::min(unit, most);
  if (cost.Predict(shares_of(most)) <= time) return most;
  int64_t rows = 0;
  while (rows + unit < most && cost.Predict(shares_of(rows + unit)) <= time) rows += unit;
  return rows;
}

}  // namespace concertina
