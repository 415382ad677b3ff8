#include "cache/precision/plan.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "cache/layer_shares.h"

namespace concertina {
namespace {

int64_t Sum(std::span<const int32_t> values) {
  return std::accumulate(values.begin(), values.end(), int64_t{0});
}

int32_t GroupsFor(int32_t entries) {
  return (std::max(0, entries - kFloorRows) + kGroupEntries - 1) / kGroupEntries;
}

// Groups that hold what the floor's rows do not.
std::vector<int32_t> GroupsToHold(std::span<const int32_t> holds) {
  std::vector<int32_t> groups;
  for (const int32_t held : holds) groups.push_back(GroupsFor(held));
  return groups;
}

// `some` of all groups, spread over layers in proportion to theirs: as many of the layers up to any
// one as their part of all, rounded down.
std::vector<int32_t> InProportion(int64_t some, std::span<const int32_t> groups) {
  const int64_t all = Sum(groups);
  std::vector<int32_t> shares;
  int64_t before = 0;
  int64_t given = 0;
  for (const int32_t count : groups) {
    before += count;
    const int64_t up_to_here = all > 0 ? some * before / all : 0;
    shares.push_back(static_cast<int32_t>(up_to_here - given));
    given = up_to_here;
  }
  return shares;
}

// Too few groups for two per layer: the deepest get theirs first, one each and then another.
std::vector<int32_t> DeepestFirst(int64_t total, std::span<const int32_t> groups) {
  std::vector<int32_t> shares(groups.size());
  for (int32_t round = 1; total > 0; ++round) {
    for (size_t l = groups.size(); l-- > 0 && total > 0;) {
      if (groups[l] >= round) {
        ++shares[l];
        --total;
      }
    }
  }
  return shares;
}

std::vector<int32_t> Dropping(int64_t total, const LayerSplit& split,
                              std::span<const int32_t> groups) {
  LayerSplit in_groups = split;
  in_groups.floor = GroupsFor(split.floor);
  int64_t two_each = 0;
  for (const int32_t count : groups) two_each += std::min(2, count);
  if (total < two_each && in_groups.floor == 0) return DeepestFirst(total, groups);
  if (total >= two_each) in_groups.floor = std::max(2, in_groups.floor);
  return LayerShares(total, in_groups, groups);
}

class Planner {
 public:
  Planner(std::span<const int32_t> holds, const GroupKinds& kinds, int64_t row_bytes)
      : holds_(holds), groups_(GroupsToHold(holds)), row_bytes_(row_bytes) {
    for (int kind = 0; kind < kGroupKinds; ++kind) bytes_.push_back(kinds[kind].bytes());
    for (const int32_t held : holds) {
      plan_.layers.push_back({.rows = std::min(held, kFloorRows)});
      floor_bytes_ += plan_.layers.back().rows * row_bytes;
    }
  }

  PrecisionPlan Spend(int64_t payload_bytes, const LayerSplit& split) {
    const int64_t left = std::max<int64_t>(0, payload_bytes - floor_bytes_);
    const int64_t all = Sum(groups_);
    if (left >= Sum(holds_) * row_bytes_ - floor_bytes_) {
      for (size_t l = 0; l < holds_.size(); ++l) plan_.layers[l].rows = holds_[l];
    } else if (left >= all * bytes_.front()) {
      RowsAndGroups(left, all);
    } else if (left < all * bytes_.back()) {
      plan_.high = plan_.low = kGroupKinds - 1;
      SetLow(Dropping(left / bytes_.back(), split, groups_));
    } else {
      int low = 1;
      while (left < all * bytes_[low]) ++low;
      plan_.high = low - 1;
      plan_.low = low;
      SetLow(groups_);
      Raise(InProportion((left - all * bytes_[low]) / (bytes_[low - 1] - bytes_[low]), groups_));
    }
    Count();
    return std::move(plan_);
  }

 private:
  // Whole groups' worth of entries become rows, the best first.
  void RowsAndGroups(int64_t left, int64_t all) {
    plan_.high = plan_.low = 0;
    SetLow(groups_);
    const int64_t more = kGroupEntries * row_bytes_ - bytes_.front();
    const std::vector<int32_t> rows = InProportion((left - all * bytes_.front()) / more, groups_);
    for (size_t l = 0; l < rows.size(); ++l) {
      HeadPlan& head = plan_.layers[l];
      head.low -= rows[l];
      head.rows = std::min(holds_[l], head.rows + rows[l] * kGroupEntries);
    }
  }

  void SetLow(std::span<const int32_t> groups) {
    for (size_t l = 0; l < groups.size(); ++l) plan_.layers[l].low = groups[l];
  }

  void Raise(std::span<const int32_t> groups) {
    for (size_t l = 0; l < groups.size(); ++l) {
      plan_.layers[l].low -= groups[l];
      plan_.layers[l].high = groups[l];
    }
  }

  void Count() {
    for (const HeadPlan& head : plan_.layers) {
      plan_.payload_bytes +=
          head.rows * row_bytes_ + head.high * bytes_[plan_.high] + head.low * bytes_[plan_.low];
    }
  }

  std::span<const int32_t> holds_;
  std::vector<int32_t> groups_;
  std::vector<int64_t> bytes_;  // of a group, by kind
  int64_t row_bytes_;
  int64_t floor_bytes_ = 0;
  PrecisionPlan plan_;
};

}  // namespace

PrecisionPlan PlanPrecision(int64_t payload_bytes, std::span<const int32_t> holds,
                            const GroupKinds& kinds, int64_t row_bytes, const LayerSplit& split) {
  return Planner(holds, kinds, row_bytes).Spend(payload_bytes, split);
}

}  // namespace concertina
