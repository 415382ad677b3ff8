#include "models/tensor/prefill_attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/logaddexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>

namespace concertina {
namespace {

constexpr int64_t kTileRows = 128;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// A key head's keys for each query head of its group, without copying them.
at::Tensor ForGroup(const at::Tensor& keys, int64_t group) {
  return keys.unsqueeze(1).expand({keys.size(0), group, keys.size(1), keys.size(2)});
}

bool HasCudaFlash(const at::Tensor& q) {
  return q.is_cuda() && (q.scalar_type() == at::kHalf || q.scalar_type() == at::kBFloat16) &&
         q.size(3) <= 256;
}

// Probabilities of keys later than a row's own go to zero: p [kv_heads, group, rows, keys], whose
// last `rows` keys are the rows' own.
void MaskFuture(const at::Tensor& p) {
  const int64_t rows = p.size(2);
  p.narrow(3, p.size(3) - rows, rows).tril_();
}

}  // namespace

Attended FlashAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale,
                        bool causal) {
  const at::Tensor keys = ForGroup(k, q.size(1));
  const at::Tensor values = ForGroup(v, q.size(1));
  if (q.is_cpu()) {
    auto [out, lse] = at::_scaled_dot_product_flash_attention_for_cpu(
        q, keys, values, /*dropout_p=*/0.0, causal, /*attn_mask=*/std::nullopt, scale);
    return {.out = out, .log_sum_exp = lse.to(at::kFloat)};
  }
  if (HasCudaFlash(q)) {
    const auto result = at::_scaled_dot_product_flash_attention(
        q, keys, values, /*dropout_p=*/0.0, causal, /*return_debug_mask=*/false, scale);
    // Some versions pad the rows.
    return {.out = std::get<0>(result), .log_sum_exp = std::get<1>(result).narrow(2, 0, q.size(2))};
  }
  return TiledAttention(q, k, v, scale, causal);
}

Attended TiledAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale,
                        bool causal) {
  const int64_t rows = q.size(2);
  Attended all{
      .out = at::empty(q.sizes(), q.options()),
      .log_sum_exp = at::empty({q.size(0), q.size(1), rows}, q.options().dtype(at::kFloat))};
  const at::Tensor values = v.unsqueeze(1).to(at::kFloat);
  const at::Tensor keys = k.unsqueeze(1).to(at::kFloat).transpose(2, 3);
  for (int64_t begin = 0; begin < rows; begin += kTileRows) {
    const int64_t count = std::min(kTileRows, rows - begin);
    const int64_t seen = causal ? begin + count : k.size(1);
    at::Tensor scores =
        at::matmul(q.narrow(2, begin, count).to(at::kFloat), keys.narrow(3, 0, seen)).mul_(scale);
    if (causal) {
      const at::Tensor future =
          at::ones({count, count}, q.options().dtype(at::kBool)).triu_(/*diagonal=*/1);
      scores.narrow(3, begin, count).masked_fill_(future, kMinusInfinity);
    }
    const at::Tensor lse = scores.logsumexp(3, /*keepdim=*/true);
    all.log_sum_exp.narrow(2, begin, count).copy_(lse.squeeze(3));
    all.out.narrow(2, begin, count)
        .copy_(at::matmul(scores.sub_(lse).exp_(), values.narrow(2, 0, seen)));
  }
  return all;
}

Attended JoinAttention(const Attended& a, const Attended& b) {
  const at::Tensor lse = at::logaddexp(a.log_sum_exp, b.log_sum_exp);
  const at::Tensor weight_a = at::exp(a.log_sum_exp - lse).unsqueeze(3);
  const at::Tensor weight_b = at::exp(b.log_sum_exp - lse).unsqueeze(3);
  const at::Tensor out = a.out.to(at::kFloat) * weight_a + b.out.to(at::kFloat) * weight_b;
  return {.out = out.to(a.out.scalar_type()), .log_sum_exp = lse};
}

at::Tensor GenericColumnSums(const ColumnSumsArgs& args) {
  const int64_t rows = args.q.size(2);
  const int64_t group = args.q.size(1);
  const at::Tensor keys = args.k.unsqueeze(1).to(at::kFloat).transpose(2, 3);
  at::Tensor sums = at::zeros({args.k.size(0), args.k.size(1)}, args.q.options().dtype(at::kFloat));
  for (int64_t begin = 0; begin < rows; begin += kTileRows) {
    const int64_t count = std::min(kTileRows, rows - begin);
    const int64_t seen = args.first_key + begin + count;
    at::Tensor p = at::matmul(args.q.narrow(2, begin, count).to(at::kFloat).mul(args.scale),
                              keys.narrow(3, 0, seen));
    p.sub_(args.log_sum_exp.narrow(2, begin, count).unsqueeze(3)).exp_();
    MaskFuture(p);
    sums.narrow(1, 0, seen).add_(p.sum({1, 2}), 1.0 / static_cast<double>(group));
  }
  return sums;
}

}  // namespace concertina
