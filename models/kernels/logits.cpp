#include "models/kernels/logits.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "models/kernels/isa.h"

namespace concertina {
namespace {

constexpr float kLeast = -std::numeric_limits<float>::infinity();

std::vector<float>& Maxima() {
  static thread_local std::vector<float> maxima;
  return maxima;
}

}  // namespace

LogitRuns::LogitRuns(std::span<const float> logits, std::vector<float>* maxima)
    : logits_(logits), largest_(kLeast) {
  static_assert(kRun == isa::kLogitRun);
  maxima->resize(CountFor(logits.size()));
  isa::Active().run_maxima(logits.data(), static_cast<int64_t>(logits.size()), maxima->data());
  maxima_ = *maxima;
  for (const float maximum : maxima_) largest_ = std::max(largest_, maximum);
}

int32_t LogitRuns::ArgMax() const {
  const auto run = std::find(maxima_.begin(), maxima_.end(), largest_);
  const auto first = logits_.begin() + (run - maxima_.begin()) * static_cast<int64_t>(kRun);
  const auto found = std::find(first, logits_.end(), largest_);
  return found == logits_.end() ? 0 : static_cast<int32_t>(found - logits_.begin());
}

float LogitRuns::Smallest() const {
  return isa::Active().smallest(logits_.data(), static_cast<int64_t>(logits_.size()));
}

float LogitRuns::ReachedBy(int64_t count, std::vector<float>* scratch) const {
  if (count > static_cast<int64_t>(maxima_.size())) return kLeast;
  scratch->assign(maxima_.begin(), maxima_.end());
  const auto bound = scratch->begin() + (count - 1);
  std::nth_element(scratch->begin(), bound, scratch->end(), std::greater<>());
  return *bound;
}

double SumExp(std::span<const float> logits, float divisor, float shift) {
  return isa::Active().sum_exp(logits.data(), static_cast<int64_t>(logits.size()), divisor, shift);
}

double LogSumExp(std::span<const float> logits, float largest) {
  return largest + std::log(SumExp(logits, 1, largest));
}

double LogSumExp(std::span<const float> logits) {
  return LogSumExp(logits, LogitRuns(logits, &Maxima()).largest());
}

int32_t ArgMax(std::span<const float> logits) { return LogitRuns(logits, &Maxima()).ArgMax(); }

}  // namespace concertina
