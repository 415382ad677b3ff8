#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "cache/session_cache.h"
#include "models/bundle/model.h"
#include "models/kernels/packed_keys.h"
#include "models/kernels/workspace.h"
#include "server/engine/step_buffers.h"

namespace concertina {

// The language model's pass over a prompt, layer by layer and, within a layer, in slices of rows. A
// layer is folded as soon as the whole prompt has passed through it, so only one layer's prompt
// keys and values ever exist beside the folded cache. Slices can be interleaved with decode steps
// of other sessions.
//
// Without folding (scoring) the cache is read but not changed: rows attend to it and to each other.
// Engine thread only. The hidden states live here, the rest of the scratch is shared.
class PrefillJob {
 public:
  struct Options {
    bool adapter = false;   // the low-rank adapter acts on every row
    bool fold = true;       // commit to the cache
    bool all_rows = false;  // hidden states of every row are wanted, not only the last
  };
  // `embeddings` [tokens, hidden]: token embeddings with image features in place.
  PrefillJob(const LanguageModel& language, SessionCache& cache, std::vector<float> embeddings,
             Options options, StepBuffers& buffers);

  // Computes the layer shares. Call once before Step.
  absl::Status Begin();
  // One slice of one layer, at most `most_rows`: a multiple of 16 for results that do not depend on
  // the cut. True when the prompt is through and, if folding, the cache is committed.
  absl::StatusOr<bool> Step(int32_t most_rows);
  bool finished() const { return layer_ == layers_; }

  // The slice that Step is about to compute: from this row of the prompt in this layer, whose rows
  // see `first_key` entries beside the slice's own.
  int32_t layer() const { return layer_; }
  int32_t row() const { return row_; }
  int32_t tokens() const { return tokens_; }
  int64_t first_key() const { return cache_.OldEntries(layer_) + row_; }

  // [hidden] of the last row, before the final norm. Valid once Step returned true.
  const float* last_hidden() const;
  // [tokens, hidden], with all_rows.
  const float* hidden() const { return hidden_.data(); }

  int64_t done() const { return int64_t{layer_} * tokens_ + row_; }
  int64_t total() const { return int64_t{layers_} * tokens_; }
  const std::vector<FoldReport>& folds() const { return folds_; }
  std::chrono::nanoseconds fold_time() const { return fold_time_; }
  int64_t bytes() const;
  // The most bytes() can be while prompt and cache together stay within `positions`.
  static int64_t BytesBound(const LanguageConfig& config, int64_t positions);

 private:
  void BeginLayer();
  void StoreKeysAndValues(const LanguageModel::Projected& projected, int32_t rows);
  void ScatterKeysAndValues(const LanguageModel::Projected& projected, int32_t rows);
  void Attend(const LanguageModel::Projected& projected, int32_t rows);
  void Advance(int32_t rows);
  absl::Status FinishLayer();

  const LanguageModel& language_;
  SessionCache& cache_;
  StepBuffers& buffers_;
  const Options options_;
  const int32_t layers_, heads_, kv_heads_, head_dim_, width_;
  const int32_t tokens_;
  int32_t layer_ = 0;
  int32_t row_ = 0;
  std::vector<float> hidden_;
  std::vector<int32_t> positions_;
  std::vector<float> adapter_;
  // One layer's working set.
  std::vector<float> k_, v_, score_;
  std::vector<uint32_t> birth_;
  std::vector<uint16_t> mass_;
  LayerPrompt prompt_{};
  // Its keys and values as attention reads them: rounded to bf16 when the cache stores less than
  // f32.
  PackedKeys::Shape packed_shape_;
  AlignedBuffer packed_memory_;
  PackedKeys packed_;
  std::vector<FoldReport> folds_;
  std::chrono::nanoseconds fold_time_{0};
};

}  // namespace concertina
