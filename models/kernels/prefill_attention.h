#pragma once

#include <cstdint>

#include "models/kernels/packed_keys.h"
#include "models/kernels/workspace.h"

namespace concertina {

// Rows whose column sums are added up before they meet other rows'.
constexpr int32_t kPrefillSumRows = 16;

// Softmax attention of many query rows over one contiguous set of keys, exact, in tiles of rows:
// the scores of a tile exist at a time, never all rows x keys.
//
// Row i sees keys 0 .. first_key + i (causal) or all of them. There are first_key + rows keys: the
// entries a cache already had, then the rows' own. Query head j belongs to key head
// j / (heads / kv_heads).
struct PrefillAttentionArgs {
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  float scale = 1.0f;
  bool causal = true;

  const float* q = nullptr;  // [rows, heads * head_dim], already rotated
  int64_t q_stride = 0;      // floats between rows

  AttentionPrecision precision = AttentionPrecision::kF32;
  // Null, or all keys as laid out before: `precision` is then theirs, `k` is not read, and `v` only
  // in f32.
  const PackedKeys* packed = nullptr;

  const float* k = nullptr;  // per key head [keys, head_dim]
  const float* v = nullptr;
  int64_t kv_head_stride = 0;       // floats between key heads
  int64_t kv_row_stride = 0;        // floats between keys of a head; 0 means head_dim
  const float* key_bias = nullptr;  // null, or [kv_heads][keys], added to the scaled scores
  int64_t key_bias_stride = 0;      // floats between key heads of key_bias

  int64_t rows = 0;
  int64_t first_key = 0;

  float* out = nullptr;  // [rows, heads * head_dim]
  int64_t out_stride = 0;

  // Null, or [kv_heads][keys]: += the sum over rows of the mean over the group's query heads of the
  // attention probability.
  float* column_sums = nullptr;
  int64_t column_stride = 0;  // floats between key heads
  // Null, or [heads][keys]: += the sum over rows of the attention probability. Null in bf16.
  float* per_query_head_sums = nullptr;
  int64_t per_query_head_stride = 0;
};

// Deterministic: a row's output depends on its query and the keys it sees only. Column sums add up
// tiles of 16 rows in order, so that a prompt cut into slices gives the same sums bit for bit when
// every slice but the last has a multiple of 16 rows.
//
// Without `packed`, each call lays out the keys anew (keys x head_dim copies per key head), which
// is small beside rows x keys x head_dim from some hundred rows on.
//
// In f32 (prefill_attention_f32.cpp) a tile's scores exist at full length: scratch memory per
// thread 16 rows x group x keys floats. In bf16 (prefill_attention_bf16.cpp) softmax goes by blocks
// of keys with a running maximum, and column sums take a second pass over the probabilities, kept
// as bf16: a quarter of that. Either: (head, key) sums of 32 tiles when column sums are asked for.
void PrefillAttention(const PrefillAttentionArgs& args, Workspace& workspace);

// The most bytes of `workspace` that calls with column sums use, in either precision.
struct PrefillSizes {
  int64_t heads;
  int64_t kv_heads;
  int64_t head_dim;
  int64_t keys;
};
int64_t PrefillScratchBytes(const PrefillSizes& sizes);

}  // namespace concertina
