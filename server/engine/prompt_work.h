#pragma once

#include <cstdint>

#include "models/bundle/model.h"
#include "server/engine/slice_cost.h"

namespace concertina {

// What prompts cost, in multiply-adds: of slices, to say how long they take, and of whole prompts,
// to compare them.

// A slice of `rows` in one layer; `fold_entries`: entries loaded or folded with it.
SliceCost::Shares LayerSliceShares(const LanguageConfig& config, int64_t rows, int64_t first_key,
                                   int64_t fold_entries);

// A slice of `rows` of a stage of the vision tower.
SliceCost::Shares PictureSliceShares(int64_t rows, int64_t row_macs);

// Rows of logits in one slice, and the unit they come in.
inline constexpr int64_t kLogitUnit = 4, kMostLogitRows = 32;

// Logits of `rows`.
SliceCost::Shares LogitShares(const LanguageConfig& config, int64_t rows);

// All layers of a prompt of `tokens` that comes after `entries` per layer.
double PromptMacs(const LanguageConfig& config, int64_t tokens, int64_t entries);

// `rows` of it in one layer, the first of which sees `first_key` entries.
double SliceMacs(const LanguageConfig& config, int64_t rows, int64_t first_key);

}  // namespace concertina
