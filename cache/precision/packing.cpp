#include "cache/precision/packing.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "cache/precision/group_store.h"

namespace concertina {
namespace {

int64_t Sum(std::span<const int32_t> values) {
  return std::accumulate(values.begin(), values.end(), int64_t{0});
}

int64_t PagesFor(int64_t bytes, int64_t page_bytes) {
  return (bytes + page_bytes - 1) / page_bytes;
}

}  // namespace

int64_t Packing::Granted(const Budget& budget, int64_t seen) const {
  if (budget.unit == Budget::Unit::kRatio) {
    return static_cast<int64_t>(std::floor(budget.ratio * static_cast<double>(seen))) *
           row_bytes() * shape_.layers;
  }
  // More than everything is of no use, and the product cannot overflow.
  return std::min(budget.tokens, seen) * row_bytes() * shape_.layers;
}

PrecisionPlan Packing::PlanWithWindow(int64_t granted, const LayerSplit& split,
                                      std::span<const int32_t> holds) const {
  const int64_t layer_rows = row_bytes() * shape_.layers;
  const bool all = granted >= Sum(holds) * row_bytes();
  const auto window =
      static_cast<int32_t>(all ? 0 : std::clamp<int64_t>(granted / layer_rows / 64, 0, 4));
  PrecisionPlan plan =
      PlanPrecision(granted - window * layer_rows, holds, kinds_, row_bytes(), split);
  plan.window = window;
  return plan;
}

int64_t Packing::LayerBytes(const PrecisionPlan& plan, size_t l, int64_t seen) const {
  const HeadPlan& head = plan.layers[l];
  const bool long_births = LongBirths(seen);
  const int64_t groups = head.high * GroupStore::RecordBytes(kinds_[plan.high], long_births) +
                         head.low * GroupStore::RecordBytes(kinds_[plan.low], long_births);
  return shape_.kv_heads * rows_->page_bytes() *
         (PagesFor(groups, rows_->page_bytes()) + rows_->PagesFor(head.rows + plan.window));
}

PrecisionPlan Packing::PlanFor(const Budget& budget, int64_t seen, const LayerSplit& split,
                               std::span<const int32_t> holds) const {
  if (budget.unit != Budget::Unit::kBytes) {
    return PlanWithWindow(Granted(budget, seen), split, holds);
  }
  const int64_t most = budget.bytes - AppendHeadroomBytes(*rows_, shape_);
  const auto fits = [&](const PrecisionPlan& plan) {
    int64_t bytes = 0;
    for (size_t l = 0; l < holds.size(); ++l) bytes += LayerBytes(plan, l, seen);
    return bytes <= most;
  };
  // The largest payload that fits; what it buys does not grow evenly, but nearly.
  int64_t low = 0;
  int64_t high = Sum(holds) * row_bytes();
  PrecisionPlan best = PlanWithWindow(high, split, holds);
  if (fits(best)) return best;
  best = PlanWithWindow(low, split, holds);
  while (high - low > row_bytes()) {
    const int64_t middle = low + (high - low) / 2;
    PrecisionPlan plan = PlanWithWindow(middle, split, holds);
    if (fits(plan)) {
      low = middle;
      best = std::move(plan);
    } else {
      high = middle;
    }
  }
  return best;
}

int64_t Packing::EntriesAffordable(const Budget& budget, int64_t seen) const {
  const std::vector<int32_t> holds(static_cast<size_t>(shape_.layers), static_cast<int32_t>(seen));
  int64_t least = seen;
  for (const HeadPlan& head : PlanFor(budget, seen, LayerSplit(1.0), holds).layers) {
    least = std::min(least, head.room());
  }
  return least;
}

EffectiveBudget Packing::Effective(const PrecisionPlan& plan, const Budget& budget, int64_t seen,
                                   std::span<const int32_t> holds) const {
  EffectiveBudget effective;
  int64_t floor = 0;
  for (size_t l = 0; l < holds.size(); ++l) {
    effective.shares.push_back(
        static_cast<int32_t>(std::min<int64_t>(holds[l], plan.layers[l].room())));
    effective.bytes_used_at_shares += LayerBytes(plan, l, seen);
    floor += std::min(holds[l], kFloorRows) * row_bytes();
  }
  effective.entries_total = Sum(effective.shares) * shape_.kv_heads;
  effective.raised_to_floor = budget.unit == Budget::Unit::kBytes
                                  ? effective.bytes_used_at_shares > budget.bytes
                                  : Granted(budget, seen) < floor;
  return effective;
}

int64_t Packing::UsedBytesBound(const Budget& budget, int64_t seen) const {
  const int64_t page = rows_->page_bytes();
  // Rows are appended before others leave, and both lists of pages end in one partly filled.
  const int64_t slack = shape_.layers * (rows_->PagesFor(kFloorRows + 1) + 4);
  const int64_t floor = (slack + shape_.layers * rows_->PagesFor(kFloorRows)) * page;
  if (budget.unit == Budget::Unit::kBytes) {
    return std::max(budget.bytes, shape_.kv_heads * floor);
  }
  const int64_t granted = Granted(budget, seen);
  double dearest =
      static_cast<double>(page) / static_cast<double>(rows_->entries_per_page() * row_bytes());
  for (int kind = 0; kind < kGroupKinds; ++kind) {
    dearest = std::max(dearest, static_cast<double>(GroupStore::RecordBytes(kinds_[kind], true)) /
                                    static_cast<double>(kinds_[kind].bytes()));
  }
  const auto bytes = static_cast<int64_t>(std::ceil(static_cast<double>(granted) * dearest));
  return shape_.kv_heads * (PagesFor(bytes, page) * page + floor);
}

void Packing::BeginFold(PrecisionPlan plan, const Budget& budget, int64_t seen) {
  plan_ = std::move(plan);
  seen_at_fold_ = seen;
  SetLimits(plan_, budget, seen);
}

void Packing::SetLimits(const PrecisionPlan& plan, const Budget& budget, int64_t seen) {
  budget_ = budget;
  limits_.clear();
  if (CostIsPages()) {
    int64_t left = budget.bytes - AppendHeadroomBytes(*rows_, shape_);
    for (size_t l = 0; l < plan.layers.size(); ++l) left -= LayerBytes(plan, l, seen);
    const int64_t pages = int64_t{shape_.layers} * shape_.kv_heads * rows_->page_bytes();
    const int64_t spare = std::max<int64_t>(0, left / pages) * rows_->page_bytes();
    for (size_t l = 0; l < plan.layers.size(); ++l) {
      limits_.push_back(LayerBytes(plan, l, seen) / shape_.kv_heads + spare);
    }
    return;
  }
  for (const HeadPlan& head : plan.layers) {
    limits_.push_back((head.rows + plan.window) * row_bytes() +
                      head.high * kinds_[plan.high].bytes() + head.low * kinds_[plan.low].bytes());
  }
  in_limits_ =
      std::max(Granted(budget, seen), std::accumulate(limits_.begin(), limits_.end(), int64_t{0}));
}

int64_t Packing::HeadLimit(int layer, int64_t seen) const {
  const int64_t limit = limits_[static_cast<size_t>(layer)];
  if (CostIsPages()) return limit;
  return limit + std::max<int64_t>(0, Granted(budget_, seen) - in_limits_) / shape_.layers;
}

}  // namespace concertina
