#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <unordered_set>
#include <vector>

#include "server/engine/requests.h"

namespace concertina {

// Chooses the next token of one turn from its logits. Owned by the turn, used on the engine thread.
// Order of the filters: repetition penalty, temperature, top-k, top-p, min-p (Hugging Face's
// LogitsProcessor order). Greedy at temperature 0; ties go to the lower id.
class Sampler {
 public:
  explicit Sampler(const SamplingParams& params);

  // Tokens the repetition penalty applies to: the turn's prompt and its answer so far.
  void Observe(std::span<const int32_t> tokens);

  struct Choice {
    int32_t token;
    float logprob;  // natural, of the unfiltered distribution
  };
  // Logits [vocab].
  Choice Choose(std::span<const float> logits);

 private:
  struct Candidate {
    float logit;
    int32_t token;
  };
  float Penalised(float logit, int32_t token) const;
  int32_t Greedy(std::span<const float> logits) const;
  int32_t Draw(std::span<const float> logits);
  void Truncate(std::vector<Candidate>& sorted) const;

  SamplingParams params_;
  std::mt19937_64 random_;
  std::unordered_set<int32_t> seen_;
  std::vector<Candidate> candidates_;
};

// log(sum(exp(logits))), stable.
double LogSumExp(std::span<const float> logits);

// Lowest id among the largest logits.
int32_t ArgMax(std::span<const float> logits);

}  // namespace concertina
