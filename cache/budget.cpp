#include "cache/budget.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "cache/check.h"

namespace concertina {
namespace {

constexpr int64_t kFloorEntries = 2;

int64_t PagesPerHead(std::span<const int32_t> shares, const EntryLayout& layout) {
  int64_t pages = 0;
  for (const int32_t share : shares) {
    pages += layout.PagesFor(share);
  }
  return pages;
}

int64_t Sum(std::span<const int32_t> values) {
  return std::accumulate(values.begin(), values.end(), int64_t{0});
}

// The largest total (per KV head, all layers) whose shares fill at most `pages_max` pages. Shares
// waste less than a page each, so the answer lies within layers x (entries_per_page - 1) of the
// upper bound.
int64_t LargestTotalWithin(int64_t pages_max, const LayerSplit& split,
                           std::span<const int32_t> holds, const EntryLayout& layout,
                           std::vector<int32_t>* scratch) {
  const int64_t epp = layout.entries_per_page();
  const auto layers = static_cast<int64_t>(holds.size());
  // pages x entries could overflow for absurd budgets; more pages than the layers hold are of no
  // use.
  const int64_t held_pages = PagesPerHead(holds, layout);
  if (pages_max >= held_pages) {
    return Sum(holds);
  }
  const int64_t top = std::max<int64_t>(0, pages_max) * epp;
  for (int64_t total = top; total > 0 && total >= top - layers * epp; --total) {
    LayerShares(total, split, holds, scratch);
    if (PagesPerHead(*scratch, layout) <= pages_max) {
      return total;
    }
  }
  return 0;
}

// n x layers as asked for, before the floor.
int64_t RequestedTotal(const Budget& budget, int64_t seen, const LayerSplit& split,
                       std::span<const int32_t> holds, const EntryLayout& layout, CacheShape shape,
                       std::vector<int32_t>* scratch) {
  const auto layers = static_cast<int64_t>(holds.size());
  const double gain = layout.entries_per_bf16_entry();
  switch (budget.unit) {
    case Budget::Unit::kRatio:
      return static_cast<int64_t>(std::floor(budget.ratio * static_cast<double>(seen) * gain)) *
             layers;
    case Budget::Unit::kTokens: {
      // Beyond what any layer holds more changes nothing, and the product cannot overflow.
      const int64_t most = holds.empty() ? 0 : *std::max_element(holds.begin(), holds.end());
      const int64_t tokens = std::min(budget.tokens, std::max(most * layers, kFloorEntries));
      return static_cast<int64_t>(std::floor(static_cast<double>(tokens) * gain)) * layers;
    }
    case Budget::Unit::kBytes: {
      const int64_t free_bytes = budget.bytes - AppendHeadroomBytes(layout, shape);
      const int64_t pages_max = free_bytes / (layout.page_bytes() * shape.kv_heads);
      return LargestTotalWithin(free_bytes < 0 ? 0 : pages_max, split, holds, layout, scratch);
    }
  }
  CONCERTINA_CHECK(false, "unknown budget unit");
}

}  // namespace

absl::Status ValidateBudget(const Budget& budget) {
  switch (budget.unit) {
    case Budget::Unit::kRatio:
      if (!(budget.ratio > 0.0 && budget.ratio <= 1.0)) {
        return absl::InvalidArgumentError(
            absl::StrCat("budget.ratio must be in (0, 1], not ", budget.ratio));
      }
      return absl::OkStatus();
    case Budget::Unit::kTokens:
      if (budget.tokens < 1) {
        return absl::InvalidArgumentError(
            absl::StrCat("budget.tokens must be at least 1, not ", budget.tokens));
      }
      return absl::OkStatus();
    case Budget::Unit::kBytes:
      if (budget.bytes < 1) {
        return absl::InvalidArgumentError(
            absl::StrCat("budget.bytes must be at least 1, not ", budget.bytes));
      }
      return absl::OkStatus();
  }
  return absl::InvalidArgumentError("budget.unit is unknown");
}

void ResolveBudget(const Budget& budget, int64_t seen, const LayerSplit& split,
                   std::span<const int32_t> holds, const EntryLayout& layout, CacheShape shape,
                   EffectiveBudget* effective) {
  std::vector<int32_t>* shares = &effective->shares;
  const int64_t asked = RequestedTotal(budget, seen, split, holds, layout, shape, shares);
  int64_t least = 0;
  for (const int32_t held : holds) {
    least += std::min(split.floor, held);
  }
  LayerShares(asked, split, holds, shares);
  effective->entries_total = Sum(*shares) * shape.kv_heads;
  effective->bytes_used_at_shares =
      PagesPerHead(*shares, layout) * shape.kv_heads * layout.page_bytes();
  effective->raised_to_floor = asked < least;
}

EffectiveBudget ResolveBudget(const Budget& budget, int64_t seen, const LayerSplit& split,
                              std::span<const int32_t> holds, const EntryLayout& layout,
                              CacheShape shape) {
  EffectiveBudget effective;
  ResolveBudget(budget, seen, split, holds, layout, shape, &effective);
  return effective;
}

int64_t EntriesAffordable(const Budget& budget, int64_t seen, const EntryLayout& layout,
                          CacheShape shape) {
  const double gain = layout.entries_per_bf16_entry();
  switch (budget.unit) {
    case Budget::Unit::kRatio:
      return static_cast<int64_t>(std::floor(budget.ratio * static_cast<double>(seen) * gain));
    case Budget::Unit::kTokens: {
      const int64_t tokens = std::min<int64_t>(budget.tokens, std::numeric_limits<int32_t>::max());
      return static_cast<int64_t>(std::floor(static_cast<double>(tokens) * gain));
    }
    case Budget::Unit::kBytes: {
      const int64_t free_bytes =
          std::max<int64_t>(0, budget.bytes - AppendHeadroomBytes(layout, shape));
      const int64_t pages = free_bytes / (layout.page_bytes() * shape.kv_heads);
      return pages / shape.layers * layout.entries_per_page();
    }
  }
  CONCERTINA_CHECK(false, "unknown budget unit");
}

int64_t AppendHeadroomBytes(const EntryLayout& layout, CacheShape shape) {
  return shape.kv_heads * layout.page_bytes();
}

}  // namespace concertina
