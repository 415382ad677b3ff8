#pragma once

#include <ATen/core/Tensor.h>

namespace concertina {

// Softmax attention of many rows over contiguous keys, with what column sums need: the log of each
// row's sum of exponentials.
struct Attended {
  at::Tensor out;          // [kv_heads, group, rows, head_dim]
  at::Tensor log_sum_exp;  // f32 [kv_heads, group, rows]
};

// q [kv_heads, group, rows, head_dim]; k, v [kv_heads, keys, head_dim]. causal: row i sees keys
// 0..i and there are as many keys as rows; otherwise every row sees every key. Uses the device's
// flash attention where it has one for the type, else TiledAttention.
Attended FlashAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale,
                        bool causal);

// The same from elementary operations, on any device, one tile of rows at a time.
Attended TiledAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale,
                        bool causal);

// Attention over the union of two disjoint sets of keys.
Attended JoinAttention(const Attended& a, const Attended& b);

struct ColumnSumsArgs {
  at::Tensor q;            // [kv_heads, group, rows, head_dim]
  at::Tensor k;            // [kv_heads, first_key + rows, head_dim]
  at::Tensor log_sum_exp;  // f32 [kv_heads, group, rows], over all keys a row sees
  int64_t first_key = 0;   // row i sees keys 0 .. first_key + i
  double scale = 1.0;
};

// f32 [kv_heads, keys]: the attention probability each key got, summed over rows, mean over the
// group. Exact, by tiles of rows: sum_m exp(q_m . k_n * scale - lse_m); no rows x keys tensor
// exists. Made of elementary operations: works on any device.
at::Tensor GenericColumnSums(const ColumnSumsArgs& args);

}  // namespace concertina
