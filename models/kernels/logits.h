#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace concertina {

// What sampling asks of one row of logits. NaN is less than everything. Deterministic, and the same
// for a row whatever stands beside it. Any thread.

// A row with the largest logit of every run of 64: what looks for large ones reads only the runs
// that have some. `logits` must outlive it.
class LogitRuns {
 public:
  static constexpr size_t kRun = 64;

  // `maxima` is overwritten and must outlive this object; it keeps its memory for the next row.
  LogitRuns(std::span<const float> logits, std::vector<float>* maxima);

  // Lowest id among the largest. 0 if all are NaN.
  int32_t ArgMax() const;
  float largest() const { return largest_; }
  // Reads the whole row. NaN counts as more than everything.
  float Smallest() const;
  size_t size() const { return logits_.size(); }
  // Of runs of so many logits.
  static size_t CountFor(size_t logits) { return (logits + kRun - 1) / kRun; }

  // A logit that at least `count` others reach or pass; close to the largest such where large
  // logits are not all in the same few runs. Minus infinity when there are fewer runs than that.
  // `scratch` is overwritten.
  float ReachedBy(int64_t count, std::vector<float>* scratch) const;

  // Calls visit(id, logit) for every logit of at least `least`, by ascending id.
  template <typename Visit>
  void VisitFrom(float least, Visit visit) const {
    VisitRunsFrom(least, [&](size_t first, std::span<const float> logits) {
      for (size_t i = 0; i < logits.size(); ++i) {
        if (logits[i] >= least) visit(static_cast<int32_t>(first + i), logits[i]);
      }
    });
  }

  // Calls visit(id of the first, logits) for every run that has a logit of at least `least`.
  template <typename Visit>
  void VisitRunsFrom(float least, Visit visit) const {
    for (size_t run = 0; run < maxima_.size(); ++run) {
      if (!(maxima_[run] >= least)) continue;
      const size_t first = run * kRun;
      visit(first, logits_.subspan(first, std::min(kRun, logits_.size() - first)));
    }
  }

 private:
  std::span<const float> logits_;
  std::span<const float> maxima_;
  float largest_;
};

// Sum of exp(logits[i] / divisor - shift), every term within 3e-7 of itself.
double SumExp(std::span<const float> logits, float divisor, float shift);

// log(sum(exp(logits))), stable; `largest` is the largest of them.
double LogSumExp(std::span<const float> logits, float largest);
double LogSumExp(std::span<const float> logits);

// Lowest id among the largest logits.
int32_t ArgMax(std::span<const float> logits);

}  // namespace concertina
