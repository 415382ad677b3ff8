#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "models/kernels/logits.h"

namespace concertina {

// The logits of a row from some bound on, in bins of equal width with the larger logits first, and
// what exp(logit / divisor - largest / divisor) comes to in each: finds the logits at which such a
// sum passes a goal without sorting more than the bin they lie in. Reused from row to row; owned by
// one thread. Deterministic, and the same for a row whatever stands beside it.
class LogitBins {
 public:
  static constexpr int kBins = 512;

  // Allocates nothing for rows of up to `vocab` logits after this.
  void Reserve(size_t vocab);

  // Bins the logits that are at least `least` and, once divided, at least `least_divided`; both
  // finite, and so is the largest. `runs` and its row must outlive the calls of Visit.
  void Fill(const LogitRuns& runs, float divisor, float least, float least_divided);

  // Of a bin: every term is within 1e-6 of itself.
  double Sum(int bin) const { return sums_[static_cast<size_t>(bin)]; }

  // Calls visit(id, logit / divisor) for every logit of a bin, by ascending id.
  template <typename Visit>
  void VisitBin(int bin, Visit visit) const {
    runs_->VisitRunsFrom(least_, [&](size_t first, std::span<const float> logits) {
      uint8_t places[LogitRuns::kRun];
      const size_t count = Places(first, static_cast<uint16_t>(bin), places);
      for (size_t i = 0; i < count; ++i) {
        visit(static_cast<int32_t>(first + places[i]), logits[places[i]] / divisor_);
      }
    });
  }

 private:
  // Those of a bin in the run that begins at `first`; how many they are.
  size_t Places(size_t first, uint16_t bin, uint8_t* places) const;

  // Four neighbours are added to four sums: one would wait for the one before it.
  static constexpr size_t kWays = 4;
  static constexpr size_t kStride = kBins + 1;  // with what is below the bounds

  const LogitRuns* runs_ = nullptr;
  float divisor_ = 1;
  float least_ = 0;
  std::vector<uint16_t> bins_;  // [vocab, rounded up to a run]; nothing where a run was left out
  std::array<double, kWays * kStride> sums_;
};

}  // namespace concertina
