#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "cache/page_pool.h"
#include "models/language/language_model.h"
#include "models/runner/model_runner.h"
#include "server/engine/decode_batch.h"
#include "server/engine/step_buffers.h"

namespace concertina {

// On the CPU, with the kernels of models/kernels/. Its caches are SessionCaches.
class HostRunner final : public ModelRunner {
 public:
  HostRunner(const LanguageModel& language, PagePool* pool);

  RunnerTraits traits() const override { return {}; }
  absl::StatusOr<std::unique_ptr<ConversationCache>> MakeCache(const CacheSpec& spec) override;
  absl::Status Embed(std::span<const int32_t> ids, float* x) override;
  std::unique_ptr<PromptPass> MakePass(ConversationCache& cache, std::vector<float> embeddings,
                                       PromptPass::Options options) override;
  absl::StatusOr<std::unique_ptr<PromptPass>> MakeProbe(ConversationCache& cache,
                                                        std::vector<float> embeddings,
                                                        int64_t position, bool adapter) override;
  void Decode(std::span<DecodeRow> rows) override { batch_.Run(rows); }
  absl::StatusOr<const float*> Logits(const float* x, int64_t n) override;
  int64_t bytes() const override { return buffers_.bytes(); }
  int64_t PassBytesBound(int64_t positions) const override;
  int64_t device_bytes() const override { return 0; }

 private:
  const LanguageModel& language_;
  PagePool* pool_;
  StepBuffers buffers_;
  DecodeBatch batch_;
};

}  // namespace concertina
