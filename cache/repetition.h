#pragma once

#include <cstdint>

#include "cache/layer_prompt.h"

namespace concertina {

// A prompt was read a second time, after itself: what says the same again attends to what it will
// take to go on, whatever the question. Of the prompt's own entries, in every KV head, half of S is
// from then on what the repetition paid, brought to the scale of the other half (after KVzip,
// arXiv 2505.23416):
//
//   S <- (S + q * R * sum(S / q) / sum(R)) / 2
//
// where R is what it paid (prompt.repeated), q how many queries could see the entry (seen_after -
// birth), and the sums go over the prompt's entries. The sum of S / q stays, so that entries of
// earlier turns, which it leaves alone, compete with the new ones as they did. Where nothing finite
// was paid, nothing changes.
void CountRepetition(const LayerPrompt& prompt, int32_t kv_heads, int64_t seen_after);

}  // namespace concertina
