#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "cache/entry_layout.h"
#include "cache/layer_shares.h"

namespace concertina {

// How much of a conversation a session may keep.
//   kRatio   a share of the tokens seen, in (0, 1]: n = floor(ratio x seen) entries per layer and
//            KV head
//   kTokens  n entries per layer and KV head
//   kBytes   a hard cap on used bytes: whole pages, metadata included
// For int8 entries, n is floored after multiplication with the number of them that have the payload
// of one bf16 entry. Every kind is raised to two entries (the first and the newest) per layer and
// head.
struct Budget {
  enum class Unit { kRatio, kTokens, kBytes };

  static Budget Ratio(double ratio) { return {.unit = Unit::kRatio, .ratio = ratio}; }
  static Budget Tokens(int64_t tokens) { return {.unit = Unit::kTokens, .tokens = tokens}; }
  static Budget Bytes(int64_t bytes) { return {.unit = Unit::kBytes, .bytes = bytes}; }

  Unit unit = Unit::kRatio;
  double ratio = 1.0;
  int64_t tokens = 0;
  int64_t bytes = 0;

  bool operator==(const Budget&) const = default;
};

// INVALID_ARGUMENT naming the field: ratio outside (0, 1] or not a number, tokens < 1, bytes < 1.
absl::Status ValidateBudget(const Budget& budget);

// What a budget comes to for a session as it is.
struct EffectiveBudget {
  std::vector<int32_t> shares;  // entries per KV head, by layer; never more than the layer holds
  int64_t entries_total = 0;    // all layers and heads
  int64_t bytes_used_at_shares = 0;  // pages those entries fill
  bool raised_to_floor = false;  // the budget asked for less than two entries per layer and head
};

// Entries every layer may keep once the session has seen `seen` tokens. holds[l]: entries layer l
// has per KV head. A byte budget buys the largest number of entries whose pages fit after kv_heads
// pages are set aside, so that the append-then-evict of a decode step stays under the cap.
// REQUIRES: ValidateBudget(budget).ok(), holds.size() == shape.layers.
EffectiveBudget ResolveBudget(const Budget& budget, int64_t seen, const LayerSplit& split,
                              std::span<const int32_t> holds, const EntryLayout& layout,
                              CacheShape shape);
// The same into one that is used again: this is asked for every token.
void ResolveBudget(const Budget& budget, int64_t seen, const LayerSplit& split,
                   std::span<const int32_t> holds, const EntryLayout& layout, CacheShape shape,
                   EffectiveBudget* effective);

// Entries a budget grants to every layer and KV head where all have the same, before the floor,
// once `seen` tokens were seen. Shares of at least this many fit it. REQUIRES: as ResolveBudget.
int64_t EntriesAffordable(const Budget& budget, int64_t seen, const EntryLayout& layout,
                          CacheShape shape);

// Bytes a decode step may need above its shares before it evicts: one page per KV head.
int64_t AppendHeadroomBytes(const EntryLayout& layout, CacheShape shape);

}  // namespace concertina
