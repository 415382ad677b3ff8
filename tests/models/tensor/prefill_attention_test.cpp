#include "models/tensor/prefill_attention.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "models/kernels/prefill_attention.h"
#include "models/tensor/device_kernels.h"

namespace concertina {
namespace {

struct Case {
  int64_t kv_heads, group, head_dim, first_key, rows;
  at::Tensor q, k, v;
  double scale() const { return 1.0 / std::sqrt(static_cast<double>(head_dim)); }
};

Case MakeCase(int64_t kv_heads, int64_t group, int64_t head_dim, int64_t first_key, int64_t rows) {
  Case made{kv_heads, group, head_dim, first_key, rows, {}, {}, {}};
  made.q = at::randn({kv_heads, group, rows, head_dim}).mul_(2.0);
  made.k = at::randn({kv_heads, first_key + rows, head_dim});
  made.v = at::randn({kv_heads, first_key + rows, head_dim});
  return made;
}

std::vector<Case> Cases() {
  at::manual_seed(7);
  std::vector<Case> cases;
  for (const int64_t rows : {1, 15, 16, 127, 128, 129, 300}) {
    cases.push_back(MakeCase(2, 3, 16, 0, rows));
    cases.push_back(MakeCase(1, 1, 64, 37, rows));
    cases.push_back(MakeCase(3, 2, 8, 130, rows));
  }
  return cases;
}

double Apart(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

// As the engine does it: causal over the rows' own keys, joined with the keys before them.
Attended Attend(const Case& input, decltype(&FlashAttention) attention) {
  const auto own = [&](const at::Tensor& keys) {
    return keys.narrow(1, input.first_key, input.rows);
  };
  const Attended causal =
      attention(input.q, own(input.k), own(input.v), input.scale(), /*causal=*/true);
  if (input.first_key == 0) return causal;
  return JoinAttention(causal, attention(input.q, input.k.narrow(1, 0, input.first_key),
                                         input.v.narrow(1, 0, input.first_key), input.scale(),
                                         /*causal=*/false));
}

struct Expected {
  at::Tensor out, sums;  // [rows, heads * head_dim], [kv_heads, keys]
};

Expected WithCpuKernel(const Case& input) {
  const int64_t heads = input.kv_heads * input.group;
  const int64_t keys = input.first_key + input.rows;
  const at::Tensor q = input.q.permute({2, 0, 1, 3}).contiguous();
  Expected expected{.out = at::zeros({input.rows, heads * input.head_dim}),
                    .sums = at::zeros({input.kv_heads, keys})};
  PrefillAttentionArgs args{};
  args.heads = heads;
  args.kv_heads = input.kv_heads;
  args.head_dim = input.head_dim;
  args.scale = static_cast<float>(input.scale());
  args.q = q.const_data_ptr<float>();
  args.q_stride = heads * input.head_dim;
  args.k = input.k.const_data_ptr<float>();
  args.v = input.v.const_data_ptr<float>();
  args.kv_head_stride = keys * input.head_dim;
  args.rows = input.rows;
  args.first_key = input.first_key;
  args.out = expected.out.mutable_data_ptr<float>();
  args.out_stride = heads * input.head_dim;
  args.column_sums = expected.sums.mutable_data_ptr<float>();
  args.column_stride = keys;
  Workspace workspace;
  PrefillAttention(args, workspace);
  return expected;
}

TEST(TensorPrefillAttention, EqualsTheCpuKernel) {
  for (const Case& input : Cases()) {
    const Expected expected = WithCpuKernel(input);
    for (const auto attention : {&FlashAttention, &TiledAttention}) {
      const Attended attended = Attend(input, attention);
      const at::Tensor out = attended.out.permute({2, 0, 1, 3}).reshape(expected.out.sizes());
      EXPECT_LT(Apart(out, expected.out), 2e-5) << input.rows << " after " << input.first_key;
      const at::Tensor sums = GenericColumnSums({.q = input.q,
                                                 .k = input.k,
                                                 .log_sum_exp = attended.log_sum_exp,
                                                 .first_key = input.first_key,
                                                 .scale = input.scale()});
      EXPECT_LT(Apart(sums, expected.sums), 1e-4) << input.rows << " after " << input.first_key;
      // Every row pays attention of 1 in every head.
      EXPECT_NEAR(sums.sum().item<double>(), static_cast<double>(input.rows * input.kv_heads),
                  1e-3 * static_cast<double>(input.rows));
    }
  }
}

TEST(TensorPrefillAttention, HalfPrecisionIsCloseToFull) {
  at::manual_seed(8);
  const Case input = MakeCase(2, 2, 64, 0, 150);
  const at::Tensor q = input.q.to(at::kBFloat16);
  const at::Tensor k = input.k.to(at::kBFloat16);
  const at::Tensor v = input.v.to(at::kBFloat16);
  const Attended exact = TiledAttention(q.to(at::kFloat), k.to(at::kFloat), v.to(at::kFloat),
                                        input.scale(), /*causal=*/true);
  for (const auto attention : {&FlashAttention, &TiledAttention}) {
    const Attended attended = attention(q, k, v, input.scale(), /*causal=*/true);
    EXPECT_EQ(attended.out.scalar_type(), at::kBFloat16);
    EXPECT_EQ(attended.log_sum_exp.scalar_type(), at::kFloat);
    EXPECT_LT(Apart(attended.out.to(at::kFloat), exact.out), 0.03);
    EXPECT_LT(Apart(attended.log_sum_exp, exact.log_sum_exp), 0.01);
  }
}

}  // namespace
}  // namespace concertina
