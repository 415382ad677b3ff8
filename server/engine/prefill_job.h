#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "cache/session_cache.h"
#include "models/kernels/packed_keys.h"
#include "models/kernels/prefill_attention.h"
#include "models/kernels/workspace.h"
#include "models/language/language_model.h"
#include "models/runner/prompt_pass.h"
#include "server/engine/step_buffers.h"

namespace concertina {

// A pass with the CPU's kernels. The hidden states live here, the rest of the scratch is shared.
class PrefillJob final : public PromptPass {
 public:
  // `embeddings` [tokens, hidden]: token embeddings with image features in place.
  PrefillJob(const LanguageModel& language, SessionCache& cache, std::vector<float> embeddings,
             Options options, StepBuffers& buffers);

  absl::Status Begin() override;
  // `most_rows` a multiple of 16: the results do not depend on the cut.
  absl::StatusOr<bool> Step(int32_t most_rows) override;
  bool whole_layers() const override { return false; }
  int64_t first_key() const override { return cache_.OldEntries(layer_) + row_; }
  const float* last_hidden() const override;
  const float* hidden() const override { return hidden_.data(); }
  int64_t bytes() const override;
  // The most bytes() can be while prompt, repetition and cache together stay within `positions`.
  static int64_t BytesBound(const LanguageConfig& config, int64_t positions);

 private:
  // Whether there is to be a repetition, and room for it in the trained context.
  bool Repeats() const;
  void AppendRepetition();
  void BeginLayer();
  // Where heads differ in length, or the layer's entries count by mass: what attention adds.
  void SetBias();
  void StoreKeysAndValues(const LanguageModel::Projected& projected, int32_t rows);
  void ScatterKeysAndValues(const LanguageModel::Projected& projected, int32_t rows);
  // What the slice's queries add to the moments by which keys are rounded.
  void AddMoments(const LanguageModel::Projected& projected, int32_t rows);
  void Attend(const LanguageModel::Projected& projected, int32_t rows);
  // Rows up to `end` of the slice, with sums from `begin` on: the first tile of these ends where
  // one of the prompt's does, so that the order of a sum does not depend on the slices.
  void AttendTiles(const PrefillAttentionArgs& args, int32_t begin, int32_t end, float* sums);
  // Rows [begin, end) of the slice; adds their column sums to `sums` unless it is null.
  void AttendRows(PrefillAttentionArgs args, int32_t begin, int32_t end, float* sums);
  void Advance(int32_t rows);
  absl::Status FinishLayer();

  const LanguageModel& language_;
  SessionCache& cache_;
  StepBuffers& buffers_;
  const Options options_;
  const int32_t heads_, kv_heads_, head_dim_, width_;
  const int32_t prompt_rows_;  // before those of its repetition
  std::vector<float> hidden_;
  std::vector<float> embeddings_;  // what to begin with again once the layers are measured
  std::vector<int32_t> positions_;
  std::vector<float> adapter_;
  // One layer's working set.
  std::vector<float> k_, v_, score_, repeated_, query_moments_;
  std::vector<uint32_t> birth_;
  std::vector<uint16_t> mass_;
  std::vector<float> bias_;  // as `score_`; read if biased_
  bool biased_ = false;
  LayerPrompt prompt_{};
  // Its keys and values as attention reads them: rounded to bf16 when the cache stores less than
  // f32.
  PackedKeys::Shape packed_shape_;
  AlignedBuffer packed_memory_;
  PackedKeys packed_;
};

}  // namespace concertina
