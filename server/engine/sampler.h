#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "server/engine/requests.h"
#include "server/engine/weight_order.h"

namespace concertina {

// Chooses the next token of one turn from its logits. Owned by the turn; samplers of different
// turns may choose on different threads at once.
// Order of the filters: repetition penalty, temperature, top-k, top-p, min-p (Hugging Face's
// LogitsProcessor order). Greedy at temperature 0; ties go to the lower id.
class Sampler {
 public:
  explicit Sampler(const SamplingParams& params);

  // Tokens the repetition penalty applies to: the turn's prompt and its answer so far.
  void Observe(std::span<const int32_t> tokens);

  struct Choice {
    int32_t token;
    float logprob;  // natural, of the unfiltered distribution; 0 if it was not asked for
  };
  // Logits [vocab]. The log-probability costs three times what a greedy choice does. `scratch` is
  // the calling thread's, of whatever sampler before. Once it has room for `vocab`, only the first
  // call allocates.
  Choice Choose(std::span<const float> logits, bool wants_logprob, SamplerScratch* scratch);

 private:
  std::span<const float> Penalised(std::span<const float> logits, SamplerScratch* scratch);
  int32_t Draw(std::span<const float> logits, SamplerScratch* scratch);

  SamplingParams params_;
  std::mt19937_64 random_;
  std::vector<uint64_t> seen_;  // bits by id: tokens the penalty applies to
};

}  // namespace concertina
