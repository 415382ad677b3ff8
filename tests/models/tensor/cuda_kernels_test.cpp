// The CUDA kernels on the CPU, a fiber per CUDA thread, against the generic ones.

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "models/cuda/column_sums.cuh"
#include "models/cuda/evict.cuh"
#include "models/cuda/paged_attention.cuh"
#include "models/tensor/device_kernels.h"
#include "tests/models/tensor/paged_case.h"

namespace concertina {
namespace {

using concertina::testing::LaunchOnCpu;
using concertina::testing::MakePagedCase;
using concertina::testing::PagedCase;

constexpr int64_t kRounds = 2;

double Apart(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

int32_t Size(const at::Tensor& tensor, int64_t dimension) {
  return static_cast<int32_t>(tensor.size(dimension));
}

// As models/cuda/launch.cu chooses the variant.
template <typename T, int kHeadDim>
at::Tensor Attend(const PagedCase& made, const at::Tensor& q, at::Tensor* scores) {
  const int32_t rows = Size(q, 0), kv_heads = Size(made.layer.table, 1);
  const int32_t group = Size(q, 1) / kv_heads;
  const int32_t pages = Size(made.layer.table, 2);
  const auto per_page = static_cast<int32_t>(made.store.entries_per_page);
  const int32_t capacity = pages * per_page;
  const int32_t splits = (capacity + cuda::kSplitEntries - 1) / cuda::kSplitEntries;
  at::Tensor out = at::zeros(q.sizes(), q.options());
  // What no split wrote must not be read.
  const auto scratch = [&](int64_t count) {
    return at::full({count}, std::numeric_limits<double>::quiet_NaN(), at::kFloat);
  };
  const at::Tensor logits = scratch(int64_t{rows} * kv_heads * group * capacity);
  const at::Tensor partial_out = scratch(int64_t{rows} * kv_heads * splits * group * kHeadDim);
  const at::Tensor partial_max = scratch(int64_t{rows} * kv_heads * splits * group);
  const at::Tensor partial_sum = scratch(int64_t{rows} * kv_heads * splits * group);
  const cuda::PagedAttention<T> args{
      .q = q.const_data_ptr<T>(),
      .store = made.store.rows.const_data_ptr<T>(),
      .table = made.layer.table.const_data_ptr<int32_t>(),
      .lengths = made.lengths.const_data_ptr<int32_t>(),
      .out = out.mutable_data_ptr<T>(),
      .scores = scores != nullptr ? scores->mutable_data_ptr<float>() : nullptr,
      .logits = logits.mutable_data_ptr<float>(),
      .partial_out = partial_out.mutable_data_ptr<float>(),
      .partial_max = partial_max.mutable_data_ptr<float>(),
      .partial_sum = partial_sum.mutable_data_ptr<float>(),
      .kv_heads = kv_heads,
      .group = group,
      .table_pages = pages,
      .entries_per_page = per_page,
      .capacity = capacity,
      .splits = splits,
      .scale = 0.125F};
  const int threads = cuda::kAttentionWarps * cuda::kLanes;
  LaunchOnCpu({splits, kv_heads, rows}, threads, [&] {
    if (group == 1) {
      cuda::PagedAttentionKernel<T, kHeadDim, 1>(args);
    } else if (group <= 4) {
      cuda::PagedAttentionKernel<T, kHeadDim, 4>(args);
    } else {
      cuda::PagedAttentionKernel<T, kHeadDim, cuda::kGroupMax>(args);
    }
  });
  LaunchOnCpu({kv_heads, rows}, threads, [&] { cuda::CombineSplitsKernel<T, kHeadDim>(args); });
  return out;
}

template <typename T, int kHeadDim>
void ExpectSameAttention(int64_t group, int64_t per_page, double tolerance) {
  PagedCase made =
      MakePagedCase({.lengths = {1, 256, 257, 290}, .per_page = per_page, .head_dim = kHeadDim});
  made.store.rows = made.store.rows.to(c10::CppTypeToScalarType<T>::value);
  const at::Tensor q =
      at::randn({4, 2 * group, kHeadDim}).mul(2.0).to(c10::CppTypeToScalarType<T>::value);
  at::Tensor scores = made.layer.scores.clone();
  const at::Tensor out = Attend<T, kHeadDim>(made, q, &scores);
  EXPECT_EQ(Apart(Attend<T, kHeadDim>(made, q, nullptr), out), 0.0);
  const at::Tensor expected = GenericKernels().paged_attention({.q = q,
                                                                .store = &made.store,
                                                                .layer = &made.layer,
                                                                .lengths = made.lengths,
                                                                .longest = 290,
                                                                .scale = 0.125});
  EXPECT_LT(Apart(out, expected), tolerance);
  EXPECT_LT(Apart(scores, made.layer.scores), 1e-5);
}

TEST(CudaKernels, PagedAttentionEqualsTheGeneric) {
  at::manual_seed(41);
  ExpectSameAttention<float, 64>(/*group=*/1, /*per_page=*/16, 1e-5);
  ExpectSameAttention<float, 64>(/*group=*/3, /*per_page=*/4, 1e-5);
  ExpectSameAttention<float, 128>(/*group=*/7, /*per_page=*/16, 1e-5);
  ExpectSameAttention<c10::BFloat16, 128>(/*group=*/1, /*per_page=*/16, 0.02);
  ExpectSameAttention<c10::Half, 64>(/*group=*/8, /*per_page=*/1, 0.003);
}

template <typename T, int kHeadDim>
void ExpectSameColumnSums(int64_t group, int64_t first_key, int64_t rows) {
  const at::ScalarType type = c10::CppTypeToScalarType<T>::value;
  const at::Tensor q = at::randn({2, group, rows, kHeadDim}).mul(2.0).to(type);
  const at::Tensor k = at::randn({2, first_key + rows, kHeadDim}).to(type);
  const double scale = 1.0 / std::sqrt(static_cast<double>(kHeadDim));
  // The log-sum-exp of each row over the keys it sees.
  const at::Tensor logits =
      q.to(at::kFloat).matmul(k.to(at::kFloat).unsqueeze(1).transpose(2, 3)) * scale;
  const at::Tensor future = at::full({rows, first_key + rows}, 1, at::kBool).triu(first_key + 1);
  const at::Tensor lse =
      logits.masked_fill(future, -std::numeric_limits<double>::infinity()).logsumexp(3);
  at::Tensor sums = at::full({2, first_key + rows}, -1.0, at::kFloat);
  const cuda::ColumnSums<T> args{.q = q.const_data_ptr<T>(),
                                 .k = k.const_data_ptr<T>(),
                                 .log_sum_exp = lse.const_data_ptr<float>(),
                                 .sums = sums.mutable_data_ptr<float>(),
                                 .group = static_cast<int32_t>(group),
                                 .rows = static_cast<int32_t>(rows),
                                 .keys = static_cast<int32_t>(first_key + rows),
                                 .first_key = static_cast<int32_t>(first_key),
                                 .scale = static_cast<float>(scale)};
  LaunchOnCpu({(args.keys + cuda::kTileKeys - 1) / cuda::kTileKeys, 2}, cuda::kColumnThreads,
              [&] { cuda::ColumnSumsKernel<T, kHeadDim>(args); });
  const at::Tensor expected = GenericColumnSums(
      {.q = q, .k = k, .log_sum_exp = lse, .first_key = first_key, .scale = scale});
  EXPECT_LT(Apart(sums, expected), 1e-4) << rows << " rows after " << first_key << " keys";
}

TEST(CudaKernels, ColumnSumsEqualTheGeneric) {
  at::manual_seed(42);
  for (const int64_t rows : {1, 31, 32, 33, 64, 100}) {
    ExpectSameColumnSums<c10::BFloat16, 64>(/*group=*/1, /*first_key=*/0, rows);
    ExpectSameColumnSums<c10::Half, 64>(/*group=*/3, /*first_key=*/70, rows);
  }
  ExpectSameColumnSums<c10::BFloat16, 128>(/*group=*/2, /*first_key=*/64, 65);
}

PagedCase Copy(const PagedCase& made) {
  PagedCase copy = made;
  copy.store.rows = made.store.rows.clone();
  for (at::Tensor* tensor :
       {&copy.layer.order, &copy.layer.scores, &copy.layer.birth, &copy.layer.mass}) {
    *tensor = tensor->clone();
  }
  return copy;
}

// Up to kRounds random ranges for every row that has more than three entries; `lengths` become
// those after the step.
at::Tensor RandomRanges(std::mt19937& random, at::Tensor* lengths) {
  const int64_t rows = lengths->size(0);
  at::Tensor ranges = at::zeros({kRounds, 2, rows}, at::kInt);
  for (int64_t row = 0; row < rows; ++row) {
    const auto rounds = static_cast<int64_t>(random() % (kRounds + 1));
    for (int64_t round = 0; round < rounds; ++round) {
      const auto length = (*lengths)[row].item<int>();
      if (length <= 3) break;
      const auto begin = static_cast<int32_t>(1 + random() % (length - 2));
      ranges[round][0][row] = begin;
      ranges[round][1][row] = static_cast<int32_t>(begin + 1 + random() % (length - 1 - begin));
      (*lengths)[row] = length - 1;
    }
  }
  return ranges;
}

void EvictOnCpu(const PagedCase& made, const at::Tensor& lengths, const at::Tensor& ranges) {
  const cuda::Evict args{.store = static_cast<uint32_t*>(made.store.rows.mutable_data_ptr()),
                         .table = made.layer.table.const_data_ptr<int32_t>(),
                         .order = made.layer.order.mutable_data_ptr<int32_t>(),
                         .scores = made.layer.scores.mutable_data_ptr<float>(),
                         .birth = made.layer.birth.mutable_data_ptr<int32_t>(),
                         .mass = made.layer.mass.mutable_data_ptr<int32_t>(),
                         .lengths = lengths.const_data_ptr<int32_t>(),
                         .ranges = ranges.const_data_ptr<int32_t>(),
                         .rows = Size(made.layer.table, 0),
                         .kv_heads = Size(made.layer.table, 1),
                         .table_pages = Size(made.layer.table, 2),
                         .entries_per_page = static_cast<int32_t>(made.store.entries_per_page),
                         .capacity = Size(made.layer.order, 2),
                         .words = Size(made.store.rows, 1),
                         .rounds = static_cast<int32_t>(kRounds)};
  LaunchOnCpu({args.kv_heads, args.rows}, cuda::kEvictThreads, [&] { cuda::EvictKernel(args); });
}

TEST(CudaKernels, EvictEqualsTheGeneric) {
  const uint32_t seed = 43;
  std::mt19937 random(seed);
  at::manual_seed(seed);
  PagedCase made = MakePagedCase({.lengths = {300, 129, 40, 5}, .per_page = 4});
  made.layer.scores.copy_(made.layer.scores.mul(20.0).floor());  // ties
  PagedCase generic = Copy(made);
  at::Tensor lengths = made.lengths.clone();
  for (int turn = 0; turn < 12; ++turn) {
    SCOPED_TRACE(turn);
    const at::Tensor before = lengths.clone();
    const at::Tensor ranges = RandomRanges(random, &lengths);
    EvictOnCpu(made, before, ranges);
    GenericKernels().evict({.store = &generic.store,
                            .layer = &generic.layer,
                            .lengths = before,
                            .ranges = ranges,
                            .rounds = kRounds});
    for (int64_t row = 0; row < lengths.size(0); ++row) {
      const auto length = lengths[row].item<int>();
      const LayerEntries found = ReadEntries(made.store, made.layer, row, length);
      const LayerEntries expected = ReadEntries(generic.store, generic.layer, row, length);
      EXPECT_EQ(Apart(found.k, expected.k), 0.0);
      EXPECT_EQ(Apart(found.v, expected.v), 0.0);
      EXPECT_EQ(Apart(found.score, expected.score), 0.0);
      EXPECT_EQ(Apart(found.birth, expected.birth), 0.0);
    }
  }
}

}  // namespace
}  // namespace concertina
