#pragma once

#include <cstdint>
#include <vector>

#include "models/kernels/logit_bins.h"

namespace concertina {

// Memory of a thread that chooses tokens, kept from row to row.
struct SamplerScratch {
  struct Candidate {
    float logit;  // after the temperature
    int32_t token;
  };

  // Choosing from rows of up to `vocab` logits allocates nothing afterwards.
  void Reserve(size_t vocab);
  // What that comes to.
  static int64_t BytesFor(int64_t vocab);

  std::vector<float> penalised, maxima, bounds;
  std::vector<Candidate> candidates;
  std::vector<double> sums;
  LogitBins bins;
};

// The tokens of a row in descending order of their logits, equals by ascending id, and the sums of
// their weights exp((logit - largest) / temperature) in that order. A few tokens are sorted as far
// as they are looked at; of many, only those near a sum that is asked for. Owned by one thread.
class WeightOrder {
 public:
  struct Selection {
    float temperature;
    float least;          // logits that count are at least this,
    float least_divided;  // and at least this after the temperature
    int64_t count;        // of those the first ones; 0: all
  };
  // `runs` and `scratch`, except its maxima, are in use as long as this exists.
  WeightOrder(const LogitRuns& runs, const Selection& selection, SamplerScratch* scratch);

  bool empty() const { return !binned_ && scratch_.candidates.empty(); }
  // Of all weights.
  double Sum() const;
  // Of a selection by count: leaves only logits that are at least this after the temperature.
  void DropBelow(float least_divided);

  struct Place {
    int32_t token;
    double sum;  // of the weights up to and with this one
  };
  // The first place whose sum is at least `goal`, or the last one. Not when empty.
  Place Reach(double goal);

 private:
  void List(const LogitRuns& runs, const Selection& selection);
  const SamplerScratch::Candidate& Sorted(size_t i);
  double Weight(const SamplerScratch::Candidate& candidate) const;
  // The candidates become those of a bin before which the weights come to `before`.
  void ListBin(int bin, double before);
  Place ReachInList(double goal);
  Place ReachInBins(double goal);

  SamplerScratch& scratch_;
  float top_;
  bool binned_ = false;
  int listed_bin_ = -1;
  double before_ = 0;  // weights before the candidates
  bool all_equal_ = false;
  size_t sorted_ = 0;  // of the candidates
};

}  // namespace concertina
