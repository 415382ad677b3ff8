#include "models/kernels/logit_bins.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "models/kernels/isa.h"

namespace concertina {
namespace {

constexpr size_t kRun = LogitRuns::kRun;

// Bins per unit, so that the least of all that count lies in the last one.
float BinsPerUnit(const LogitRuns& runs, float divisor, float least_divided) {
  const float lowest = std::max(runs.Smallest() / divisor, least_divided);
  const float range = runs.largest() / divisor - lowest;
  return range > 0 ? std::min(LogitBins::kBins / range, std::numeric_limits<float>::max()) : 0;
}

}  // namespace

void LogitBins::Reserve(size_t vocab) { bins_.reserve(LogitRuns::CountFor(vocab) * kRun); }

void LogitBins::Fill(const LogitRuns& runs, float divisor, float least, float least_divided) {
  runs_ = &runs;
  divisor_ = divisor;
  least_ = least;
  bins_.resize(LogitRuns::CountFor(runs.size()) * kRun);
  sums_.fill(0);
  least_divided = std::max(least_divided, least / divisor);
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const isa::LogitBinning binning{.divisor = divisor,
                                  .top = runs.largest() / divisor,
                                  .below = std::nextafter(least_divided, -kInfinity),
                                  .per_unit = BinsPerUnit(runs, divisor, least_divided),
                                  .bins = kBins};
  runs.VisitRunsFrom(least, [&](size_t first, std::span<const float> logits) {
    float padded[kRun], weights[kRun];
    int32_t bins[kRun];
    const float* run = logits.data();
    if (logits.size() < kRun) {
      std::fill(std::copy(logits.begin(), logits.end(), padded), padded + kRun, -kInfinity);
      run = padded;
    }
    isa::Active().bin_run(run, binning, weights, bins);
    for (size_t i = 0; i < kRun; ++i) {
      bins_[first + i] = static_cast<uint16_t>(bins[i]);
      sums_[i % kWays * kStride + static_cast<size_t>(bins[i])] += double{weights[i]};
    }
  });
  for (size_t way = 1; way < kWays; ++way) {
    for (size_t bin = 0; bin < kBins; ++bin) sums_[bin] += sums_[way * kStride + bin];
  }
}

// Without branches, which nothing could foretell; the first loop is one of vectors.
size_t LogitBins::Places(size_t first, uint16_t bin, uint8_t* places) const {
  const uint16_t* bins = bins_.data() + first;
  uint16_t any = 0;
  for (size_t i = 0; i < kRun; ++i) any |= static_cast<uint16_t>(bins[i] == bin);
  if (any == 0) return 0;
  size_t count = 0;
  for (size_t i = 0; i < kRun; ++i) {
    places[count] = static_cast<uint8_t>(i);
    count += bins[i] == bin ? 1 : 0;
  }
  return count;
}

}  // namespace concertina
