#include "server/engine/weight_order.h"

#include <algorithm>
#include <cmath>

namespace concertina {
namespace {

using Candidate = SamplerScratch::Candidate;

// More than these are not worth sorting.
constexpr size_t kListedMax = 2048;

bool Before(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

}  // namespace

void SamplerScratch::Reserve(size_t vocab) {
  penalised.reserve(vocab);
  maxima.reserve(LogitRuns::CountFor(vocab));
  bounds.reserve(LogitRuns::CountFor(vocab));
  candidates.reserve(vocab);
  sums.reserve(vocab);
  bins.Reserve(vocab);
}

int64_t SamplerScratch::BytesFor(int64_t vocab) {
  const auto rows = int64_t{sizeof(float) + sizeof(Candidate) + sizeof(double) + sizeof(uint16_t)};
  // Two rows of maxima are a 32nd of a row each; bins are whole runs.
  return (vocab + 2 * int64_t{LogitRuns::kRun}) * (rows + 1) + int64_t{sizeof(SamplerScratch)};
}

WeightOrder::WeightOrder(const LogitRuns& runs, const Selection& selection, SamplerScratch* scratch)
    : scratch_(*scratch), top_(runs.largest() / selection.temperature) {
  List(runs, selection);
  if (selection.count > 0 || scratch_.candidates.size() <= kListedMax) return;
  binned_ = true;
  scratch_.bins.Fill(runs, selection.temperature, selection.least, selection.least_divided);
}

void WeightOrder::List(const LogitRuns& runs, const Selection& selection) {
  std::vector<Candidate>& candidates = scratch_.candidates;
  candidates.clear();
  scratch_.sums.clear();
  runs.VisitRunsFrom(selection.least, [&](size_t first, std::span<const float> logits) {
    if (selection.count == 0 && candidates.size() > kListedMax) return;
    for (size_t i = 0; i < logits.size(); ++i) {
      if (!(logits[i] >= selection.least)) continue;
      const Candidate candidate{logits[i] / selection.temperature, static_cast<int32_t>(first + i)};
      if (candidate.logit >= selection.least_divided) candidates.push_back(candidate);
    }
  });
  const auto count = static_cast<size_t>(selection.count);
  if (count == 0 || count >= candidates.size()) return;
  std::nth_element(candidates.begin(), candidates.begin() + selection.count, candidates.end(),
                   Before);
  candidates.resize(count);
}

double WeightOrder::Weight(const Candidate& candidate) const {
  return std::exp(double{candidate.logit} - top_);
}

double WeightOrder::Sum() const {
  double sum = 0;
  if (binned_) {
    for (int bin = 0; bin < LogitBins::kBins; ++bin) sum += scratch_.bins.Sum(bin);
  } else {
    for (const Candidate& candidate : scratch_.candidates) sum += Weight(candidate);
  }
  return sum;
}

void WeightOrder::DropBelow(float least_divided) {
  std::erase_if(scratch_.candidates,
                [&](const Candidate& candidate) { return candidate.logit < least_divided; });
}

// Usually a few of hundreds are looked at.
const Candidate& WeightOrder::Sorted(size_t i) {
  constexpr size_t kFirst = 64;
  std::vector<Candidate>& candidates = scratch_.candidates;
  while (i >= sorted_) {
    const auto begin = candidates.begin() + static_cast<ptrdiff_t>(sorted_);
    sorted_ = std::min(candidates.size(), sorted_ + std::max(sorted_, kFirst));
    const auto end = candidates.begin() + static_cast<ptrdiff_t>(sorted_);
    if (end != candidates.end()) std::nth_element(begin, end, candidates.end(), Before);
    std::sort(begin, end, Before);
  }
  return candidates[i];
}

WeightOrder::Place WeightOrder::Reach(double goal) {
  return binned_ ? ReachInBins(goal) : ReachInList(goal);
}

WeightOrder::Place WeightOrder::ReachInList(double goal) {
  std::vector<double>& sums = scratch_.sums;  // as far as anybody looked
  const size_t count = scratch_.candidates.size();
  for (size_t i = 0;; ++i) {
    const Candidate& candidate = Sorted(i);
    if (i == sums.size()) sums.push_back((i > 0 ? sums.back() : before_) + Weight(candidate));
    if (i + 1 == count || !(sums[i] < goal)) return {candidate.token, sums[i]};
  }
}

void WeightOrder::ListBin(int bin, double before) {
  if (bin == listed_bin_) return;
  std::vector<Candidate>& candidates = scratch_.candidates;
  candidates.clear();
  scratch_.bins.VisitBin(bin,
                         [&](int32_t token, float logit) { candidates.push_back({logit, token}); });
  all_equal_ = std::all_of(candidates.begin(), candidates.end(), [&](const Candidate& other) {
    return other.logit == candidates[0].logit;
  });
  scratch_.sums.clear();
  sorted_ = 0;
  listed_bin_ = bin;
  before_ = before;
}

WeightOrder::Place WeightOrder::ReachInBins(double goal) {
  double sum = 0, before = 0;
  int found = 0;
  for (int bin = 0; bin < LogitBins::kBins; ++bin) {
    const double weights = scratch_.bins.Sum(bin);
    if (weights == 0) continue;
    found = bin;
    before = sum;
    sum += weights;
    if (!(sum < goal)) break;
  }
  ListBin(found, before);
  if (!all_equal_) return ReachInList(goal);
  // Equals need no order, and no sums one by one. NaN ends as the first place.
  const std::vector<Candidate>& candidates = scratch_.candidates;
  const double weight = Weight(candidates[0]);
  const double place = std::min(std::max(1.0, std::ceil((goal - before_) / weight)),
                                static_cast<double>(candidates.size()));
  return {candidates[static_cast<size_t>(place) - 1].token, before_ + place * weight};
}

}  // namespace concertina
