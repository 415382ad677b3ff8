#pragma once

#include <cstdint>

namespace concertina {

// A KV head's query moments, M = sum of q q^T over queries q of its group, rotated: how much an
// error in two channels of a key weighs in the scores, as (q e)^2 summed over queries is e M e^T.
// Stored as [head_dim][head_dim]; the lower triangle counts.

// Every so many of a prompt's tokens count, so that long prompts cost no more than 256 of them.
inline int32_t QueryMomentStep(int32_t prompt_tokens) { return (prompt_tokens + 255) / 256; }

// Adds the queries of one token, [query_heads][head_dim], to the moments of kv_heads, one after
// another. Every element is a sum in the order of calls: the same however a prompt is cut into
// slices, and on every machine.
// REQUIRES: query_heads is a multiple of kv_heads.
void AddQueryMoments(const float* q, int32_t query_heads, int32_t kv_heads, int32_t head_dim,
                     float* moments);

}  // namespace concertina
