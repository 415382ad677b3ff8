#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "cache/session_cache.h"
#include "models/bundle/model.h"
#include "models/kernels/decode_attention.h"
#include "server/engine/step_buffers.h"

namespace concertina {

// One token of one session in a decode step.
struct DecodeRow {
  SessionCache* cache;
  int32_t token;
  bool adapter;
  bool wants_logits;
  absl::Status status;            // set by the step: not OK if the token could not be taken in
  int64_t evicted = 0;            // set by the step: entries that went
  const float* logits = nullptr;  // [vocab], set by the step; valid until the next one
};

// Feeds one token to each of several sessions: one matrix product per weight for all rows,
// attention ragged over each session's own entries. Appends, attends, evicts layer by layer. Engine
// thread only.
class DecodeBatch {
 public:
  DecodeBatch(const LanguageModel& language, StepBuffers& buffers)
      : language_(language), buffers_(buffers) {}

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
