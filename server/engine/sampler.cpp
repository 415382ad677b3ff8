#include "server/engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "models/kernels/logits.h"

namespace concertina {
namespace {

uint64_t SeedOf(const SamplingParams& params) {
  if (params.seed != 0) return params.seed;
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

struct Candidate {
  float logit;  // after the temperature
  int32_t token;
};

bool Before(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

// Buffers of a thread that chooses, as large as the largest row so far.
struct Scratch {
  std::vector<float> penalised, maxima, bounds;
  std::vector<Candidate> candidates;
  std::vector<double> weights;
};

Scratch& ThreadScratch() {
  static thread_local Scratch scratch;
  return scratch;
}

// Candidates in descending order, sorted as far as they are looked at: usually a few of thousands.
class Descending {
 public:
  explicit Descending(std::vector<Candidate>& candidates) : candidates_(candidates) {}

  size_t size() const { return candidates_.size(); }

  const Candidate& operator[](size_t i) {
    while (i >= sorted_) SortMore();
    return candidates_[i];
  }

 private:
  void SortMore() {
    const auto begin = candidates_.begin() + static_cast<ptrdiff_t>(sorted_);
    sorted_ = std::min(size(), sorted_ + std::max(sorted_, kFirst));
    const auto end = candidates_.begin() + static_cast<ptrdiff_t>(sorted_);
    if (end != candidates_.end()) std::nth_element(begin, end, candidates_.end(), Before);
    std::sort(begin, end, Before);
  }

  static constexpr size_t kFirst = 64;
  std::vector<Candidate>& candidates_;
  size_t sorted_ = 0;
};

double Weight(const Candidate& candidate, float top) {
  return std::exp(double{candidate.logit} - top);
}

// The logits from which on a token can be drawn at all; others need not be looked at. `total`: sum
// of all weights, the largest of which is 1.
float LeastLogit(const SamplingParams& params, const LogitRuns& runs, size_t vocab, double total,
                 double chance, std::vector<float>* scratch) {
  if (params.top_k > 0) return runs.ReachedBy(params.top_k, scratch);
  // Were all tokens below this one weight, they still would not come to the share that is cut off.
  const double cut = params.top_p < 1 ? 1 - double{params.top_p} : 1 - chance;
  double weight = cut * total / static_cast<double>(vocab);
  if (params.min_p > 0) {
    weight = params.top_p < 1 ? std::max(weight, double{params.min_p}) : params.min_p;
  }
  const double top = runs.largest() / params.temperature;
  const double slack = 1e-3 + 1e-6 * std::abs(top);
  return static_cast<float>((top + std::log(weight) - slack) * params.temperature);
}

// Weights of the candidates that top-p and min-p leave, the best one always among them; their sum.
double KeepBest(const SamplingParams& params, double total, float top, Descending& candidates,
                std::vector<double>* weights) {
  const double enough =
      params.top_p < 1 ? params.top_p * total : std::numeric_limits<double>::infinity();
  double mass = 0;
  weights->clear();
  for (size_t i = 0; i < candidates.size(); ++i) {
    const double weight = Weight(candidates[i], top);
    if (i > 0 && (weight < params.min_p || mass >= enough)) break;
    weights->push_back(weight);
    mass += weight;
  }
  return mass;
}

}  // namespace

Sampler::Sampler(const SamplingParams& params) : params_(params), random_(SeedOf(params)) {}

void Sampler::Observe(std::span<const int32_t> tokens) {
  if (params_.repetition_penalty == 1) return;
  for (const int32_t token : tokens) {
    if (token < 0) continue;
    const auto id = static_cast<size_t>(token);
    if (id >= is_seen_.size()) is_seen_.resize(std::max(id + 1, 2 * is_seen_.size()));
    if (is_seen_[id]) continue;
    is_seen_[id] = true;
    seen_.push_back(token);
  }
}

std::span<const float> Sampler::Penalised(std::span<const float> logits) const {
  if (seen_.empty()) return logits;
  std::vector<float>& penalised = ThreadScratch().penalised;
  penalised.assign(logits.begin(), logits.end());
  for (const int32_t token : seen_) {
    const auto id = static_cast<size_t>(token);
    if (id >= penalised.size()) continue;  // a picture's place in the prompt
    float& logit = penalised[id];
    logit = logit > 0 ? logit / params_.repetition_penalty : logit * params_.repetition_penalty;
  }
  return penalised;
}

int32_t Sampler::Draw(std::span<const float> logits) {
  Scratch& scratch = ThreadScratch();
  const LogitRuns runs(logits, &scratch.maxima);
  const float top = runs.largest() / params_.temperature;
  // 53 random bits: the same draw on every standard library.
  const double chance = static_cast<double>(random_() >> 11) * 0x1.0p-53;
  const bool all = params_.top_k <= 0 && params_.top_p >= 1 && params_.min_p <= 0;
  double total = 1;
  if (params_.top_k <= 0 && (all || params_.top_p < 1)) {
    total = SumExp(logits, params_.temperature, top);
  }
  scratch.candidates.clear();
  runs.VisitFrom(LeastLogit(params_, runs, logits.size(), total, chance, &scratch.bounds),
                 [&](int32_t token, float logit) {
                   scratch.candidates.push_back({logit / params_.temperature, token});
                 });
  if (scratch.candidates.empty()) return runs.ArgMax();
  Descending candidates(scratch.candidates);
  if (all) {
    double left = chance * total;
    size_t i = 0;
    while ((left -= Weight(candidates[i], top)) >= 0 && i + 1 < candidates.size()) ++i;
    return candidates[i].token;
  }
  if (params_.top_k > 0) {
    total = 0;
    const auto limit = std::min<size_t>(params_.top_k, candidates.size());
    for (size_t i = 0; i < limit; ++i) total += Weight(candidates[i], top);
    scratch.candidates.resize(limit);
  }
  double left = chance * KeepBest(params_, total, top, candidates, &scratch.weights);
  size_t i = 0;
  while ((left -= scratch.weights[i]) >= 0 && i + 1 < scratch.weights.size()) ++i;
  return candidates[i].token;
}

Sampler::Choice Sampler::Choose(std::span<const float> logits, bool wants_logprob) {
  const std::span<const float> penalised = Penalised(logits);
  const int32_t token = params_.temperature == 0 ? ArgMax(penalised) : Draw(penalised);
  float logprob = 0;
  if (wants_logprob) logprob = static_cast<float>(double{logits[token]} - LogSumExp(logits));
  Observe({&token, 1});
  return {token, logprob};
}

}  // namespace concertina
