#pragma once

#include <cstdint>

#include "cache/policies/policy.h"

namespace concertina {

// What folding one layer did, all KV heads together.
struct FoldReport {
  int32_t layer = 0;
  int64_t entries_before = 0;  // kept so far plus the prompt's
  int64_t entries_after = 0;
  int64_t bytes_before = 0;  // whole pages, as if everything had been stored
  int64_t bytes_after = 0;
  double score_before = 0;  // attention received by all entries (sum of S)
  double score_kept = 0;    // and by those kept
  double mass_kept = 1.0;  // score_kept / score_before, in [0, 1]; 1 when no attention was reported
};

// Adds what of S was there before a fold and what is `kept`. REQUIRES: a policy that needs scores.
void AddAttention(const LayerView& view, const Selection& kept, FoldReport* report);

}  // namespace concertina
