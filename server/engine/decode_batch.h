#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/kernels/decode_attention.h"
#include "models/language/language_model.h"
#include "models/runner/model_runner.h"
#include "server/engine/step_buffers.h"

namespace concertina {

// Feeds one token to each of several sessions with the CPU's kernels: one matrix product per weight
// for all rows, attention ragged over each session's own entries. Appends, attends, evicts layer by
// layer. Engine thread only.
class DecodeBatch {
 public:
  DecodeBatch(const LanguageModel& language, StepBuffers& buffers)
      : language_(language), buffers_(buffers) {}

  // REQUIRES: every cache a SessionCache.
  void Run(std::span<DecodeRow> rows);

 private:
  void Embed(std::span<DecodeRow> rows);
  void Layer(int32_t layer, std::span<DecodeRow> rows);
  void Attend(int32_t layer, const LanguageModel::Projected& projected, std::span<DecodeRow> rows);
  void Logits(std::span<DecodeRow> rows);

  const LanguageModel& language_;
  StepBuffers& buffers_;
  std::vector<int32_t> ids_;
  std::vector<DecodeItem> items_;
};

}  // namespace concertina
