#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cache/fold_report.h"
#include "cache/turn_rules.h"

namespace concertina {

// The language model's pass over a prompt, layer by layer and, within a layer, in slices of rows. A
// layer is folded as soon as the whole prompt has passed through it, so only one layer's prompt
// keys and values ever exist beside the folded cache. Slices can be interleaved with decode steps
// of other sessions.
//
// Without folding (scoring) the cache is read but not changed: rows attend to it and to each other.
// Engine thread only.
class PromptPass {
 public:
  struct Options {
    bool adapter = false;   // the low-rank adapter acts on every row
    bool fold = true;       // commit to the cache
    bool all_rows = false;  // hidden states of every row are wanted, not only the last
    int32_t last_rows = 1;  // or of so many at the end; more than 1 where RunnerTraits::probes
    // Rows that stay, and pictures' rows (SessionCache::BeginPrefill); with `fold`.
    std::vector<TokenSpan> pins;
    std::vector<TokenSpan> pictures;
    // With `fold`, [rows, hidden]: words that ask for the prompt again. They and the prompt are
    // then read after it, by the cache's policy (Policy::repeats_prompts) and where the trained
    // context has room for both. Empty: it is not.
    std::vector<float> repeat_request;
  };
  virtual ~PromptPass() = default;
  PromptPass(const PromptPass&) = delete;
  PromptPass& operator=(const PromptPass&) = delete;

  // Computes the layer shares. Call once before Step.
  virtual absl::Status Begin() = 0;
  // One slice of one layer: at most `most_rows`, or with whole_layers() all of them. True when the
  // prompt is through and, if folding, the cache is committed.
  virtual absl::StatusOr<bool> Step(int32_t most_rows) = 0;
  virtual bool whole_layers() const = 0;
  bool finished() const { return layer_ == layers_; }

  // The slice that Step is about to compute: from this row of the prompt in this layer, whose rows
  // see `first_key` entries beside the slice's own.
  int32_t layer() const { return layer_; }
  int32_t row() const { return row_; }
  int32_t tokens() const { return tokens_; }  // rows in all, a repetition's too
  virtual int64_t first_key() const = 0;

  // [hidden] of the prompt's last row, before the final norm. Valid once Step returned true.
  virtual const float* last_hidden() const = 0;
  // [tokens, hidden], likewise: all rows with all_rows, else the last_rows at the end.
  virtual const float* hidden() const = 0;

  int64_t done() const { return (int64_t{read_} * layers_ + layer_) * tokens_ + row_; }
  int64_t total() const { return int64_t{reads_} * layers_ * tokens_; }
  const std::vector<FoldReport>& folds() const { return folds_; }
  std::chrono::nanoseconds fold_time() const { return fold_time_; }
  virtual int64_t bytes() const = 0;

 protected:
  PromptPass(int32_t layers, int32_t tokens) : layers_(layers), tokens_(tokens) {}

  const int32_t layers_;
  int32_t tokens_;
  int32_t reads_ = 1;  // how often the prompt passes the layers; all but the last only measure
  int32_t read_ = 0;
  int32_t layer_ = 0;
  int32_t row_ = 0;
  std::vector<FoldReport> folds_;
  std::chrono::nanoseconds fold_time_{0};
};

}  // namespace concertina
