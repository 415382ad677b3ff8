#pragma once

#include <cstdint>
#include <vector>

#include "cache/session_cache.h"
#include "models/kernels/packed_keys.h"
#include "models/kernels/workspace.h"
#include "models/language/language_model.h"
#include "models/runner/prompt_pass.h"
#include "server/engine/step_buffers.h"

namespace concertina {

// Reads the last tokens of a prompt again, with what the folds left of it (ModelRunner::MakeProbe),
// with the CPU's kernels. Attention goes over the same keys in the same order as in the prompt's
// own pass, by the same kernel: where nothing was lost, the results are the same bit for bit.
class ProbePass final : public PromptPass {
 public:
  // REQUIRES: a cache that is intact and not decoding, until the pass ends; no more rows than
  // tokens it has seen.
  ProbePass(const LanguageModel& language, const SessionCache& cache, std::vector<float> embeddings,
            int64_t position, bool adapter, StepBuffers& buffers);

  absl::Status Begin() override;
  absl::StatusOr<bool> Step(int32_t most_rows) override;
  bool whole_layers() const override { return false; }
  int64_t first_key() const override { return cache_.OldEntries(layer_); }
  const float* last_hidden() const override;
  const float* hidden() const override { return hidden_.data(); }
  int64_t bytes() const override;

 private:
  // One head's entries, as many as the rows so far may see, in the order of birth.
  struct Seen {
    std::vector<int32_t> slots;  // all of the head's
    int32_t loaded = 0;
    PackedKeys packed;  // of them, an even number: a key that has a pair's other half may not go
  };

  void BeginLayer();
  void Attend(const LanguageModel::Projected& projected, int32_t rows);
  // Loads the entries up to this birth, and its own where the cache has it no more. Returns how
  // many keys there are.
  int32_t LoadUpTo(uint32_t birth, const float* k, const float* v, int32_t head);
  void AttendRow(const LanguageModel::Projected& projected, int32_t i, int32_t head);

  const LanguageModel& language_;
  const SessionCache& cache_;
  StepBuffers& buffers_;
  const int32_t heads_, kv_heads_, head_dim_, width_;
  const int64_t first_birth_;
  int64_t capacity_ = 0;  // keys per head
  std::vector<float> hidden_, adapter_;
  std::vector<int32_t> positions_;
  std::vector<Seen> seen_;       // [kv_heads], of the layer
  std::vector<float> k_, v_;     // [kv_heads][capacity][head_dim]
  std::vector<float> bias_;      // [kv_heads][capacity]; empty: entries are not weighed by mass
  PackedKeys::Shape shape_;      // of one head
  AlignedBuffer packed_memory_;  // [kv_heads]
  int64_t packed_floats_ = 0;
};

}  // namespace concertina
