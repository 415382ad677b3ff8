#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cache/budget.h"
#include "cache/precision/group_kinds.h"
#include "cache/precision/plan.h"

namespace concertina {

// What a session with EntryType::kPacked knows beside its heads: kinds of groups, the plan of the
// last fold, and what a head of each layer may cost while decoding. Owned by its SessionCache.
class Packing {
 public:
  // `rows`: the layout of entries that are not in groups.
  Packing(CacheShape shape, const EntryLayout* rows)
      : shape_(shape), rows_(rows), kinds_(shape.head_dim) {}

  // The same for a fork.
  Packing CopyFor(const EntryLayout* rows) const {
    Packing copy = *this;
    copy.rows_ = rows;
    return copy;
  }

  const GroupKinds& kinds() const { return kinds_; }

  // What the budget buys once `seen` tokens were seen, of what layers hold. With a byte budget the
  // pages of it and of one appended row per KV head fit the cap, but for the floor.
  PrecisionPlan PlanFor(const Budget& budget, int64_t seen, const LayerSplit& split,
                        std::span<const int32_t> holds) const;
  // Entries that the budget grants to every layer and KV head where all have the same and hold all
  // of `seen` tokens. Where a floor is no higher, PlanFor() keeps to both.
  int64_t EntriesAffordable(const Budget& budget, int64_t seen) const;
  // Used bytes of all heads of layer l under the plan, its window included.
  int64_t LayerBytes(const PrecisionPlan& plan, size_t l, int64_t seen) const;
  // What `plan`, made for these arguments, comes to.
  EffectiveBudget Effective(const PrecisionPlan& plan, const Budget& budget, int64_t seen,
                            std::span<const int32_t> holds) const;
  // Whether a session may cost so much.
  bool Within(const Budget& budget, int64_t seen, int64_t payload_bytes, int64_t used_bytes) const {
    return budget.unit == Budget::Unit::kBytes
               ? used_bytes <= budget.bytes
               : payload_bytes <= Granted(budget, seen) * shape_.kv_heads;
  }
  // An upper bound of used bytes while the conversation grows to `seen` tokens.
  int64_t UsedBytesBound(const Budget& budget, int64_t seen) const;

  // A fold to `plan` begins.
  void BeginFold(PrecisionPlan plan, const Budget& budget, int64_t seen);
  // From now on heads may cost what `plan` says; the groups they have stay of their kinds.
  void SetLimits(const PrecisionPlan& plan, const Budget& budget, int64_t seen);
  // What limits follow from.
  const Budget& budget() const { return budget_; }
  const PrecisionPlan& plan() const { return plan_; }
  bool long_births() const { return LongBirths(seen_at_fold_); }
  // Most that one head of a layer may cost once `seen` tokens were seen: used bytes if
  // CostIsPages(), else payload.
  int64_t HeadLimit(int layer, int64_t seen) const;
  bool CostIsPages() const { return budget_.unit == Budget::Unit::kBytes; }

 private:
  // Births of tokens decoded before the next fold must fit as well.
  static bool LongBirths(int64_t seen) { return seen > 32768; }
  int64_t row_bytes() const { return rows_->entry_payload_bytes(); }
  // Payload granted to one KV head of all layers together, by ratio or tokens.
  int64_t Granted(const Budget& budget, int64_t seen) const;
  PrecisionPlan PlanWithWindow(int64_t granted, const LayerSplit& split,
                               std::span<const int32_t> holds) const;

  CacheShape shape_;
  const EntryLayout* rows_;
  GroupKinds kinds_;
  PrecisionPlan plan_;
  int64_t seen_at_fold_ = 1;
  Budget budget_;
  std::vector<int64_t> limits_;  // by layer
  int64_t in_limits_ = 0;        // payload that the budget must grant before they rise
};

}  // namespace concertina
