#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/kernels/decode_attention.h"
#include "models/language/language_model.h"
#include "models/runner/model_runner.h"
#include "server/engine/step_buffers.h"

namespace concertina {

class SessionCache;

// Feeds one token to each of several sessions with the CPU's kernels: one matrix product per weight
// for all rows, attention ragged over each session's own entries. Appends, attends, evicts layer by
// layer; a head evicts where it was attended to, while that thread's caches hold some of it. Engine
// thread only.
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
  void AddItems(int32_t layer, const LanguageModel::Projected& projected, size_t row,
                SessionCache& cache);
  void Logits(std::span<DecodeRow> rows);

  const LanguageModel& language_;
  StepBuffers& buffers_;
  std::vector<int32_t> ids_;
  // A KV head of a row.
  struct Place {
    size_t row;
    int32_t head;
    int64_t evicted;
  };
  std::vector<DecodeItem> items_;
  std::vector<Place> places_;  // of items_
};

}  // namespace concertina
