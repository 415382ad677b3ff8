#include "cache/session_cache.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cache/check.h"

namespace concertina {

SessionCache::SessionCache(PagePool* pool, CacheShape shape, EntryType type,
                           std::shared_ptr<const Policy> policy, Budget budget,
                           OnContextEnd on_context_end, TurnFold turn_fold, ImageFold images,
                           RotateFn rotate)
    : shape_(shape),
      type_(type),
      layout_(shape, RowType(type), pool->page_bytes()),
      policy_(std::move(policy)),
      budget_(budget),
      on_context_end_(on_context_end),
      images_(images),
      rotate_(std::move(rotate)),
      account_(pool),
      rules_(turn_fold, images.share) {
  CONCERTINA_CHECK(shape.layers >= 1 && shape.kv_heads >= 1, "a cache needs layers and heads");
  CONCERTINA_CHECK(ValidateBudget(budget).ok(), "a cache is opened with an invalid budget");
  if (type == EntryType::kPacked && !policy_->keeps_everything()) {
    CONCERTINA_CHECK(!policy_->merges(), "merged entries have no place in groups");
    packing_ = std::make_unique<Packing>(shape, &layout_);
  }
  CONCERTINA_CHECK(rules_.none() || follows_turn_rules(),
                   "a policy is given turn rules that it does not follow");
  CONCERTINA_CHECK(images.share == 0 || (follows_turn_rules() && !policy_->keeps_everything() &&
                                         !packs() && turn_fold == TurnFold::kRefold),
                   "pictures are given a budget that nothing holds them to");
  CONCERTINA_CHECK(!images.merge || (images.share > 0 && rotate_ && !policy_->merges()),
                   "pictures' entries cannot be merged here");
  scratch_.resize(static_cast<size_t>(shape.kv_heads));
  heads_.assign(static_cast<size_t>(shape.layers) * shape.kv_heads,
                HeadCache(&layout_, packs() ? &packing_->kinds() : nullptr));
}

SessionCache::~SessionCache() { Clear(); }

void SessionCache::Clear() {
  for (int layer = 0; layer < shape_.layers; ++layer) {
    ReleaseLayer(layer);
  }
  positions_ = PositionMap();
  rules_.Clear();
  layer_weights_.clear();
  measuring_ = false;
  seen_ = 0;
  prefill_tokens_ = 0;
  next_layer_ = 0;
  intact_ = true;
  decoding_ = false;
  step_open_ = false;
  over_images_ = 0;
}

void SessionCache::ReleaseLayer(int layer) {
  for (int head = 0; head < shape_.kv_heads; ++head) {
    Head(layer, head).ReleaseAll(&account_);
  }
}

int64_t SessionCache::live_entries() const {
  int64_t entries = 0;
  for (const HeadCache& head : heads_) {
    entries += head.entries();
  }
  return entries;
}

int64_t SessionCache::payload_bytes() const {
  int64_t bytes = 0;
  for (const HeadCache& head : heads_) {
    bytes += head.payload_bytes();
  }
  return bytes;
}

int64_t SessionCache::mass_represented() const {
  int64_t mass = 0;
  for (const HeadCache& head : heads_) {
    for (const int32_t slot : head.SlotsInBirthOrder()) {
      mass += head.Meta(slot).mass;
    }
  }
  return mass;
}

absl::Status SessionCache::SetBudget(Budget budget) {
  absl::Status valid = ValidateBudget(budget);
  if (valid.ok()) {
    budget_ = budget;
  }
  return valid;
}

int64_t SessionCache::EntriesOf(int layer) const {
  int64_t entries = 0;
  for (int head = 0; head < shape_.kv_heads; ++head) {
    entries += EntriesIn(layer, head);
  }
  return entries;
}

int32_t SessionCache::EntriesPerHead(int layer) const {
  if (!policy_->splits_heads()) {
    return EntriesIn(layer, 0);
  }
  return static_cast<int32_t>((EntriesOf(layer) + shape_.kv_heads - 1) / shape_.kv_heads);
}

int32_t SessionCache::OldEntries(int layer) const {
  int32_t most = 0;
  for (int head = 0; head < shape_.kv_heads; ++head) {
    most = std::max(most, EntriesIn(layer, head));
  }
  return most;
}

std::vector<int32_t> SessionCache::Holds(int32_t more) const {
  std::vector<int32_t> holds(static_cast<size_t>(shape_.layers));
  for (int layer = 0; layer < shape_.layers; ++layer) {
    holds[layer] = EntriesPerHead(layer) + more;
  }
  return holds;
}

Budget SessionCache::GrantedBudget() const {
  // A policy that drops nothing is granted everything; BeginPrefill and AppendToken hold it to byte
  // budgets.
  return policy_->keeps_everything() ? Budget::Ratio(1.0) : budget_;
}

LayerSplit SessionCache::layer_split() const {
  LayerSplit split =
      layer_weights_.empty() ? LayerSplit(policy_->slope_r()) : LayerSplit(layer_weights_);
  split.floor = step_rules().floor();
  return split;
}

int64_t SessionCache::EntriesAffordable(const Budget& budget, int64_t seen) const {
  if (policy_->keeps_everything()) return std::numeric_limits<int64_t>::max();
  return packs() ? packing_->EntriesAffordable(budget, seen)
                 : concertina::EntriesAffordable(budget, seen, layout_, shape_);
}

EffectiveBudget SessionCache::Resolve(int64_t seen, std::span<const int32_t> holds) const {
  if (packs()) {
    const PrecisionPlan plan = packing_->PlanFor(budget_, seen, layer_split(), holds);
    return packing_->Effective(plan, budget_, seen, holds);
  }
  return ResolveBudget(GrantedBudget(), seen, layer_split(), holds, layout_, shape_);
}

EffectiveBudget SessionCache::effective_budget() const {
  EffectiveBudget effective = Resolve(seen_, Holds(0));
  if (packs() && packing_->Within(budget_, seen_, payload_bytes(), used_bytes())) {
    // Decoding may have found a better use of the same bytes than the plan has.
    effective.entries_total = std::max(effective.entries_total, live_entries());
  }
  return effective;
}

void SessionCache::BeginStep(int64_t seen, int32_t more) {
  if (packs()) {
    BeginPackedStep(seen, more);
    return;
  }
  // At its cap a cache is of the same size at every token, and what a byte budget buys then takes
  // many tries to find.
  const int32_t floor = step_rules().floor();
  bool known =
      step_budget_ == budget_ && budget_.unit == Budget::Unit::kBytes && step_floor_ == floor;
  step_holds_.resize(static_cast<size_t>(shape_.layers));
  for (int layer = 0; layer < shape_.layers; ++layer) {
    const int32_t holds = EntriesPerHead(layer) + more;
    known = known && step_holds_[layer] == holds;
    step_holds_[layer] = holds;
  }
  if (!known) {
    ResolveBudget(GrantedBudget(), seen, layer_split(), step_holds_, layout_, shape_, &step_);
    step_budget_ = budget_;
    step_floor_ = floor;
  }
  step_bytes_max_ = std::max({budget_.bytes - AppendHeadroomBytes(layout_, shape_),
                              step_.bytes_used_at_shares, used_bytes()});
}

int32_t SessionCache::ShareWithinBytes(int layer) const {
  const int32_t share = step_.shares[layer];
  if (budget_.unit != Budget::Unit::kBytes || policy_->keeps_everything()) {
    return share;
  }
  // Layers change their shares one after another. Where one that grows comes before one that
  // shrinks, the mixture could pass the cap by a page or two; the growing layer then gives way.
  int64_t layer_bytes = 0;
  for (int head = 0; head < shape_.kv_heads; ++head) {
    layer_bytes += Head(layer, head).used_bytes();
  }
  const int64_t left = step_bytes_max_ - (used_bytes() - layer_bytes);
  const int64_t pages = left / (shape_.kv_heads * layout_.page_bytes());
  const int64_t fits = std::max<int64_t>(step_floor_, pages * layout_.entries_per_page());
  return static_cast<int32_t>(std::min<int64_t>(share, fits));
}

absl::Status SessionCache::CheckByteCap(int64_t extra_pages) const {
  if (!policy_->keeps_everything() || budget_.unit != Budget::Unit::kBytes) {
    return absl::OkStatus();
  }
  const int64_t needed = used_bytes() + extra_pages * layout_.page_bytes();
  if (needed <= budget_.bytes) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat("policy ", std::string(policy_->name()),
                                                    " drops nothing and needs ", needed,
                                                    " bytes of a budget of ", budget_.bytes));
}

int64_t SessionCache::UsedBytesBound(int64_t more_tokens) const {
  const auto more = static_cast<int32_t>(std::clamp<int64_t>(more_tokens, 0, INT32_MAX / 2));
  if (packs()) {
    return std::max(packing_->UsedBytesBound(budget_, seen_ + more),
                    used_bytes() + AppendHeadroomBytes(layout_, shape_));
  }
  const EffectiveBudget last = Resolve(seen_ + more, Holds(more));
  // Totals only grow on the way there. Every layer may end in a partly filled page, and hold one
  // entry more than its share while layers change over; one layer at a time appends before it
  // evicts.
  const int64_t per_head = last.entries_total / shape_.kv_heads;
  const int64_t pages = per_head / layout_.entries_per_page() + shape_.layers + 1;
  const int64_t headroom = AppendHeadroomBytes(layout_, shape_);
  int64_t bound = pages * shape_.kv_heads * layout_.page_bytes();
  if (policy_->measures_layers()) {
    // Half way through a fold, the layers that gain may have gained and those that give not yet
    // given; what is held before it has the same bound, whoever computes the turns again.
    bound = std::min(bound + std::max(bound, used_bytes()), FullBytes(seen_ + more));
  }
  if (budget_.unit == Budget::Unit::kBytes && !policy_->keeps_everything()) {
    bound = std::min(bound, std::max(budget_.bytes, last.bytes_used_at_shares + headroom));
  }
  return std::max(bound, used_bytes() + headroom);
}

}  // namespace concertina
