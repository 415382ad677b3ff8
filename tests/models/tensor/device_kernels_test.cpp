#include "models/tensor/device_kernels.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "models/kernels/decode_attention.h"
#include "tests/models/tensor/paged_case.h"

namespace concertina {
namespace {

using concertina::testing::MakePagedCase;
using concertina::testing::PagedCase;

constexpr int64_t kRounds = 2;

double Apart(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

// Attention over the same pages with the CPU's kernel; adds to `scores`.
at::Tensor WithCpuKernel(const PagedCase& made, const at::Tensor& q, double scale,
                         const at::Tensor& scores) {
  const int64_t kv_heads = made.layer.table.size(1);
  const int64_t head_dim = q.size(2);
  const int64_t group = q.size(1) / kv_heads;
  const int64_t per_page = made.store.entries_per_page;
  at::Tensor out = at::zeros(q.sizes());
  std::vector<std::vector<const uint8_t*>> pages;
  std::vector<DecodeItem> items;
  for (int64_t item = 0; item < q.size(0) * kv_heads; ++item) {
    pages.emplace_back();
    for (int64_t page = 0; page < made.layer.table.size(2); ++page) {
      const int64_t id =
          made.layer.table.view({-1, made.layer.table.size(2)})[item][page].item<int>();
      pages.back().push_back(static_cast<const uint8_t*>(made.store.rows.const_data_ptr()) +
                             id * 2 * per_page * head_dim * 4);
    }
  }
  for (int64_t item = 0; item < q.size(0) * kv_heads; ++item) {
    const int64_t at = item * group * head_dim;
    items.push_back({.head = {.pages = pages[item].data(),
                              .entries = made.lengths[item / kv_heads].item<int>(),
                              .entries_per_page = per_page},
                     .q = q.const_data_ptr<float>() + at,
                     .group = group,
                     .out = out.mutable_data_ptr<float>() + at,
                     .score_sums = scores.mutable_data_ptr<float>() + item * scores.size(2)});
  }
  const PageLayout layout{.head_dim = head_dim, .k_offset = 0, .v_offset = per_page * head_dim * 4};
  Workspace workspace;
  DecodeAttention(items, layout, static_cast<float>(scale), workspace);
  return out;
}

TEST(GenericKernels, PagedAttentionEqualsTheCpuKernel) {
  at::manual_seed(11);
  for (const int64_t per_page : {1, 4, 16}) {
    for (const int64_t group : {1, 3}) {
      // Lengths around a page's, and one far longer than the others.
      const std::vector<int32_t> lengths{1, static_cast<int32_t>(per_page),
                                         static_cast<int32_t>(per_page + 1), 29, 130};
      PagedCase made = MakePagedCase({.lengths = lengths, .per_page = per_page});
      const at::Tensor q = at::randn({5, 2 * group, 8}).mul_(3.0);
      const at::Tensor expected_scores = made.layer.scores.clone();
      const at::Tensor expected = WithCpuKernel(made, q, 0.4, expected_scores);
      const at::Tensor out = GenericKernels().paged_attention({.q = q,
                                                               .store = &made.store,
                                                               .layer = &made.layer,
                                                               .lengths = made.lengths,
                                                               .longest = 130,
                                                               .scale = 0.4});
      EXPECT_LT(Apart(out, expected), 1e-5) << per_page << " entries a page, group " << group;
      EXPECT_LT(Apart(made.layer.scores, expected_scores), 1e-5);
    }
  }
}

// A page that once belonged to another session may hold anything.
TEST(GenericKernels, PagedAttentionIgnoresWhatLiesBeyondTheLength) {
  at::manual_seed(12);
  PagedCase made = MakePagedCase({.lengths = {3, 5}, .per_page = 4});
  const at::Tensor q = at::randn({2, 2, 8});
  const PagedAttentionArgs args{.q = q,
                                .store = &made.store,
                                .layer = &made.layer,
                                .lengths = made.lengths,
                                .longest = 5,
                                .scale = 1.0};
  const at::Tensor clean = GenericKernels().paged_attention(args);
  const at::Tensor beyond =
      StoreRows(made.store, made.layer.table.narrow(0, 0, 1), at::full({1, 2, 1}, 3, at::kLong));
  made.store.rows.index_fill_(0, beyond.flatten(), std::numeric_limits<float>::quiet_NaN());
  made.store.rows.index_fill_(0, beyond.flatten() + 4, std::numeric_limits<float>::quiet_NaN());
  EXPECT_EQ(Apart(GenericKernels().paged_attention(args), clean), 0.0);
}

// One head's entries in birth order, as the host sees them.
struct HostEntries {
  std::vector<float> scores, keys;
  std::vector<int32_t> births;
};

HostEntries Read(const PagedCase& made, int64_t row, int64_t head, int64_t entries) {
  const LayerEntries all = ReadEntries(made.store, made.layer, row, entries);
  HostEntries read;
  for (int64_t i = 0; i < entries; ++i) {
    read.scores.push_back(all.score[head][i].item<float>());
    read.keys.push_back(all.k[head][i][0].item<float>());
    read.births.push_back(all.birth[head][i].item<int>());
    EXPECT_EQ(all.k[head][i][1].item<float>(), -all.v[head][i][1].item<float>());
  }
  return read;
}

void Remove(int32_t begin, int32_t end, HostEntries* entries) {
  const auto first = entries->scores.begin();
  const int64_t victim = std::min_element(first + begin, first + end) - first;
  entries->scores.erase(entries->scores.begin() + victim);
  entries->keys.erase(entries->keys.begin() + victim);
  entries->births.erase(entries->births.begin() + victim);
}

TEST(GenericKernels, EvictRemovesTheLeastOfTheRange) {
  const uint32_t seed = 21;
  std::mt19937 random(seed);
  SCOPED_TRACE(seed);
  at::manual_seed(seed);
  PagedCase made = MakePagedCase({.lengths = {12, 40, 7}, .per_page = 4, .mirrored = true});
  made.layer.scores.copy_(made.layer.scores.mul(8.0).floor());  // ties: the oldest goes
  std::vector<int32_t> lengths{12, 40, 7};
  for (int turn = 0; turn < 30; ++turn) {
    at::Tensor ranges = at::zeros({kRounds, 2, 3}, at::kInt);
    at::Tensor counts = at::empty({3}, at::kInt);
    std::vector<HostEntries> expected;
    for (int64_t row = 0; row < 3; ++row) {
      counts[row] = lengths[row];
      for (int64_t head = 0; head < 2; ++head)
        expected.push_back(Read(made, row, head, lengths[row]));
      const auto rounds = static_cast<int64_t>(random() % (kRounds + 1));
      for (int64_t round = 0; round < rounds && lengths[row] > 3; ++round, --lengths[row]) {
        const auto begin = static_cast<int32_t>(1 + random() % (lengths[row] - 2));
        const auto end = static_cast<int32_t>(begin + 1 + random() % (lengths[row] - 1 - begin));
        ranges[round][0][row] = begin;
        ranges[round][1][row] = end;
        for (int64_t head = 0; head < 2; ++head) Remove(begin, end, &expected[row * 2 + head]);
      }
    }
    GenericKernels().evict({.store = &made.store,
                            .layer = &made.layer,
                            .lengths = counts,
                            .ranges = ranges,
                            .rounds = kRounds});
    for (int64_t item = 0; item < 6; ++item) {
      const HostEntries found = Read(made, item / 2, item % 2, lengths[item / 2]);
      EXPECT_EQ(found.births, expected[item].births) << "turn " << turn << ", item " << item;
      EXPECT_EQ(found.scores, expected[item].scores) << "turn " << turn << ", item " << item;
      EXPECT_EQ(found.keys, expected[item].keys) << "turn " << turn << ", item " << item;
    }
  }
  EXPECT_LT(lengths[1], 40);  // the generator's sequence is fixed: some did go
}

}  // namespace
}  // namespace concertina
