#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randperm.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <vector>

#include "models/tensor/paged_layer.h"

namespace concertina::testing {

// Rows of random entries of one layer, two KV heads of 8, in pages that lie anywhere.
struct PagedCase {
  PageStore store;
  PagedLayer layer;
  at::Tensor lengths;  // i32 [rows]
};

struct PagedCaseOptions {
  std::vector<int32_t> lengths;
  int64_t per_page = 4;
  int64_t kv_heads = 2;
  int64_t head_dim = 8;
  bool mirrored = false;  // V = -K
};

inline PagedCase MakePagedCase(const PagedCaseOptions& options) {
  const auto rows = static_cast<int64_t>(options.lengths.size());
  const int64_t longest = *std::max_element(options.lengths.begin(), options.lengths.end());
  const int64_t pages = (longest + options.per_page - 1) / options.per_page;
  const int64_t all = rows * options.kv_heads * pages;
  const int64_t capacity = pages * options.per_page;
  PagedCase made;
  made.store.entries_per_page = options.per_page;
  at::Tensor store = at::randn({all + 1, 2, options.per_page, options.head_dim});
  if (options.mirrored) store.select(1, 1).copy_(store.select(1, 0).neg());
  made.store.rows = store.view({-1, options.head_dim});
  made.layer.table = at::randperm(all, at::kInt).add_(1).view({rows, options.kv_heads, pages});
  const at::Tensor slots = at::arange(capacity, at::kInt);
  made.layer.order = slots.expand({rows, options.kv_heads, capacity}).contiguous();
  made.layer.scores = at::rand({rows, options.kv_heads, capacity});
  made.layer.birth = made.layer.order.mul(3);
  made.layer.mass = at::full({rows, options.kv_heads, capacity}, 1, at::kInt);
  made.lengths = at::empty({rows}, at::kInt);
  for (int64_t row = 0; row < rows; ++row) made.lengths[row] = options.lengths[row];
  return made;
}

}  // namespace concertina::testing
