#include "server/engine/sampler.h"

#include <algorithm>
#include <cmath>

namespace concertina {
namespace {

uint64_t SeedOf(const SamplingParams& params) {
  if (params.seed != 0) return params.seed;
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

}  // namespace

double LogSumExp(std::span<const float> logits) {
  const float top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float logit : logits) sum += std::exp(static_cast<double>(logit - top));
  return top + std::log(sum);
}

int32_t ArgMax(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

Sampler::Sampler(const SamplingParams& params) : params_(params), random_(SeedOf(params)) {}

void Sampler::Observe(std::span<const int32_t> tokens) {
  if (params_.repetition_penalty != 1) seen_.insert(tokens.begin(), tokens.end());
}

float Sampler::Penalised(float logit, int32_t token) const {
  if (!seen_.contains(token)) return logit;
  return logit > 0 ? logit / params_.repetition_penalty : logit * params_.repetition_penalty;
}

int32_t Sampler::Greedy(std::span<const float> logits) const {
  if (seen_.empty()) return ArgMax(logits);
  int32_t best = 0;
  float best_logit = Penalised(logits[0], 0);
  for (int32_t token = 1; token < static_cast<int32_t>(logits.size()); ++token) {
    const float logit = Penalised(logits[token], token);
    if (logit > best_logit) {
      best_logit = logit;
      best = token;
    }
  }
  return best;
}

void Sampler::Truncate(std::vector<Candidate>& sorted) const {
  if (params_.top_k > 0) sorted.resize(std::min<size_t>(sorted.size(), params_.top_k));
  const float top = sorted.front().logit;
  double total = 0;
  for (const Candidate& candidate : sorted) total += std::exp(double{candidate.logit} - top);
  double mass = 0;
  size_t kept = 0;
  while (kept < sorted.size()) {
    const double weight = std::exp(double{sorted[kept].logit} - top);
    if (kept > 0 && (weight < params_.min_p || mass >= params_.top_p * total)) break;
    mass += weight;
    ++kept;
  }
  sorted.resize(kept);
}

int32_t Sampler::Draw(std::span<const float> logits) {
  candidates_.resize(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    const auto token = static_cast<int32_t>(i);
    candidates_[i] = {Penalised(logits[i], token) / params_.temperature, token};
  }
  std::sort(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
  });
  Truncate(candidates_);
  const float top = candidates_.front().logit;
  double total = 0;
  for (const Candidate& candidate : candidates_) total += std::exp(double{candidate.logit} - top);
  // 53 random bits: the same draw on every standard library.
  double left = static_cast<double>(random_() >> 11) * 0x1.0p-53 * total;
  for (const Candidate& candidate : candidates_) {
    left -= std::exp(double{candidate.logit} - top);
    if (left < 0) return candidate.token;
  }
  return candidates_.back().token;
}

Sampler::Choice Sampler::Choose(std::span<const float> logits) {
  const int32_t token = params_.temperature == 0 ? Greedy(logits) : Draw(logits);
  const auto logprob = static_cast<float>(double{logits[token]} - LogSumExp(logits));
  if (params_.repetition_penalty != 1) seen_.insert(token);
  return {token, logprob};
}

}  // namespace concertina
