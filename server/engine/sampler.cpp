#include "server/engine/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "models/kernels/logits.h"

namespace concertina {
namespace {

constexpr size_t kWordBits = 64;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

uint64_t SeedOf(const SamplingParams& params) {
  if (params.seed != 0) return params.seed;
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

// The logits from which on a token can be drawn at all; others need not be looked at. `total`: sum
// of all weights, the largest of which is 1.
float LeastLogit(const SamplingParams& params, const LogitRuns& runs, double total, double chance,
                 std::vector<float>* scratch) {
  if (params.top_k > 0) return runs.ReachedBy(params.top_k, scratch);
  // Were all tokens below this one weight, they still would not come to the share that is cut off.
  const double cut = params.top_p < 1 ? 1 - double{params.top_p} : 1 - chance;
  double weight = cut * total / static_cast<double>(runs.size());
  if (params.min_p > 0) {
    weight = params.top_p < 1 ? std::max(weight, double{params.min_p}) : params.min_p;
  }
  const double top = runs.largest() / params.temperature;
  const double slack = 1e-3 + 1e-6 * std::abs(top);
  return static_cast<float>((top + std::log(weight) - slack) * params.temperature);
}

// The least logit after the temperature whose weight is min_p.
float LeastDivided(const SamplingParams& params, float top) {
  if (params.min_p <= 0) return -kInfinity;
  const double bound = double{top} + std::log(double{params.min_p});
  const auto rounded = static_cast<float>(bound);
  return rounded < bound ? std::nextafter(rounded, kInfinity) : rounded;
}

}  // namespace

Sampler::Sampler(const SamplingParams& params) : params_(params), random_(SeedOf(params)) {}

void Sampler::Observe(std::span<const int32_t> tokens) {
  if (params_.repetition_penalty == 1) return;
  for (const int32_t token : tokens) {
    if (token < 0) continue;
    const auto id = static_cast<size_t>(token);
    if (id / kWordBits >= seen_.size()) seen_.resize(id / kWordBits + 1);
    seen_[id / kWordBits] |= uint64_t{1} << id % kWordBits;
  }
}

std::span<const float> Sampler::Penalised(std::span<const float> logits, SamplerScratch* scratch) {
  if (params_.repetition_penalty == 1) return logits;
  const size_t words = (logits.size() + kWordBits - 1) / kWordBits;
  if (seen_.size() < words) seen_.resize(words);
  std::vector<float>& penalised = scratch->penalised;
  penalised.assign(logits.begin(), logits.end());
  for (size_t word = 0; word < words; ++word) {
    for (uint64_t left = seen_[word]; left != 0; left &= left - 1) {
      const size_t id = word * kWordBits + static_cast<size_t>(std::countr_zero(left));
      if (id >= penalised.size()) break;  // a picture's place in the prompt
      float& logit = penalised[id];
      logit = logit > 0 ? logit / params_.repetition_penalty : logit * params_.repetition_penalty;
    }
  }
  return penalised;
}

int32_t Sampler::Draw(std::span<const float> logits, SamplerScratch* scratch) {
  const LogitRuns runs(logits, &scratch->maxima);
  const float top = runs.largest() / params_.temperature;
  // 53 random bits: the same draw on every standard library.
  const double chance = static_cast<double>(random_() >> 11) * 0x1.0p-53;
  const bool all = params_.top_k <= 0 && params_.top_p >= 1 && params_.min_p <= 0;
  double total = 1;
  if (params_.top_k <= 0 && (all || params_.top_p < 1)) {
    total = SumExp(logits, params_.temperature, top);
  }
  // Top-p has to do with the sum of all that top-k leaves, min-p or not.
  const float least_divided = params_.top_k > 0 ? -kInfinity : LeastDivided(params_, top);
  WeightOrder order(runs,
                    {.temperature = params_.temperature,
                     .least = LeastLogit(params_, runs, total, chance, &scratch->bounds),
                     .least_divided = least_divided,
                     .count = std::max(params_.top_k, 0)},
                    scratch);
  if (order.empty()) return runs.ArgMax();
  if (params_.top_k > 0) {
    total = order.Sum();
    order.DropBelow(LeastDivided(params_, top));
  }
  if (params_.top_p < 1) {
    total = order.Reach(params_.top_p * total).sum;
  } else if (!all) {
    total = order.Sum();
  }
  // The place at which the sum passes it: a sum equal to it is not enough.
  const double goal = chance * total;
  return order.Reach(std::nextafter(goal, double{kInfinity})).token;
}

Sampler::Choice Sampler::Choose(std::span<const float> logits, bool wants_logprob,
                                SamplerScratch* scratch) {
  const std::span<const float> penalised = Penalised(logits, scratch);
  int32_t token = 0;
  if (params_.temperature == 0) {
    token = LogitRuns(penalised, &scratch->maxima).ArgMax();
  } else {
    token = Draw(penalised, scratch);
  }
  float logprob = 0;
  if (wants_logprob) {
    const float largest = LogitRuns(logits, &scratch->maxima).largest();
    logprob = static_cast<float>(double{logits[token]} - LogSumExp(logits, largest));
  }
  Observe({&token, 1});
  return {token, logprob};
}

}  // namespace concertina
