#include "server/engine/turn_quality.h"

#include <algorithm>
#include <cmath>

#include "models/kernels/logits.h"

namespace concertina {
namespace {

// Sum of p (log p - log q). Equal rows give 0, not what rounding leaves of it.
double Divergence(std::span<const float> p, std::span<const float> q) {
  const double p_sum = LogSumExp(p), q_sum = LogSumExp(q);
  double divergence = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    const double log_p = p[i] - p_sum, log_q = q[i] - q_sum;
    divergence += std::exp(log_p) * (log_p - log_q);
  }
  return std::max(0.0, divergence);
}

}  // namespace

TurnQuality QualityOf(std::span<const FoldReport> folds) {
  TurnQuality quality;
  if (folds.empty()) return quality;
  quality.measured = true;
  double sum = 0;
  for (const FoldReport& fold : folds) {
    const bool counted = fold.score_before > 0 || fold.entries_after == fold.entries_before;
    quality.measured = quality.measured && counted;
    sum += fold.mass_kept;
    if (fold.mass_kept >= quality.mass_kept_lowest) continue;
    quality.mass_kept_lowest = fold.mass_kept;
    quality.lowest_layer = fold.layer;
  }
  quality.mass_kept_mean = sum / static_cast<double>(folds.size());
  return quality;
}

void AddProbeRow(std::span<const float> unfolded, std::span<const float> folded,
                 TurnQuality* quality) {
  ++quality->probe_tokens;
  if (ArgMax(unfolded) == ArgMax(folded)) ++quality->agreeing;
  quality->divergence += Divergence(unfolded, folded);
}

}  // namespace concertina
