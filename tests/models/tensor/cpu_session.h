#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "cache/session_cache.h"
#include "models/kernels/workspace.h"
#include "models/language/language_model.h"

namespace concertina::testing {

// One conversation on the CPU's own kernels and SessionCache (f32 entries): what the tensor engine
// is compared with.
class CpuSession {
 public:
  CpuSession(const LanguageModel& model, std::shared_ptr<const Policy> policy, Budget budget);

  // Logits after the last token.
  std::vector<float> Prefill(std::span<const int32_t> ids);
  std::vector<float> Decode(int32_t id);

  const SessionCache& cache() const { return *cache_; }
  int32_t entries(int layer) const { return cache_->EntriesIn(layer, 0); }

  struct HeadEntries {
    std::vector<uint32_t> births;
    std::vector<float> k, v, scores;
    std::vector<int32_t> masses;
  };
  // In birth order; S as it is while decoding.
  HeadEntries Contents(int layer, int head);

 private:
  void PrefillLayer(int layer, int64_t rows, const int32_t* positions, float* x);
  void DecodeLayer(int layer, int32_t position, float* x);

  const LanguageModel& model_;
  std::unique_ptr<PagePool> pool_;
  std::unique_ptr<SessionCache> cache_;
  Workspace workspace_;
};

}  // namespace concertina::testing
