#include <algorithm>
#include <array>
#include <iterator>

#include "cache/check.h"
#include "cache/session_cache.h"

// Sessions with packed groups: a layer's share is a plan of rows and groups, and while decoding a
// head is held to what that costs.

namespace concertina {
namespace {

enum class Tier : uint8_t { kDropped, kLow, kHigh, kRow };

// `count` of the entries of tier `from` go to tier `to`: those of `best` first, then the youngest.
void Raise(std::vector<Tier>* tiers, Tier from, Tier to, std::span<const int32_t> best,
           int64_t count) {
  for (const int32_t index : best) {
    if (count > 0 && (*tiers)[index] == from) {
      (*tiers)[index] = to;
      --count;
    }
  }
  for (auto i = static_cast<int64_t>(tiers->size()) - 1; i >= 0 && count > 0; --i) {
    if ((*tiers)[i] == from) {
      (*tiers)[i] = to;
      --count;
    }
  }
}

// The newest tokens that decoding keeps exact, where a head can afford it, and how many more come
// together before they go to groups at once: memory that nothing else reads costs the most of it.
constexpr int64_t kExactNewest = 2;
constexpr int64_t kMovedAtOnce = 4;

// Of a head with so many groups, one can go at a time.
constexpr int32_t kPlentyOfGroups = 5;

int32_t GroupsFor(int64_t entries) {
  return static_cast<int32_t>((entries + kGroupEntries - 1) / kGroupEntries);
}

// What a fold makes of a head's entries.
struct TieredHead {
  std::vector<int32_t> rows;
  std::vector<GroupEntry> high, low;
  std::vector<GroupImage> old;  // where entries of these lie that do
  KeyFeedback feedback;
};

TieredHead SplitByTier(const HeadCache& cache, const LayerPrompt& prompt, int32_t head,
                       int32_t head_dim, std::span<const Tier> tiers) {
  TieredHead split{.old = cache.groups().Images()};
  const std::vector<int32_t> slots = cache.SlotsInBirthOrder();
  for (int32_t i = 0; i < prompt.entries(); ++i) {
    if (tiers[i] == Tier::kRow) split.rows.push_back(i);
    if (tiers[i] != Tier::kHigh && tiers[i] != Tier::kLow) continue;
    const int64_t at = head * prompt.capacity + i;
    GroupEntry entry{.birth = prompt.birth[at],
                     .score = PackScore(prompt.score[at]),
                     .k = prompt.k + at * head_dim,
                     .v = prompt.v + at * head_dim};
    if (i < prompt.old_entries && slots[i] < cache.first_row()) {
      entry.group = cache.groups().GroupOf(slots[i]);
      entry.index = GroupStore::IndexOf(slots[i]);
    }
    (tiers[i] == Tier::kHigh ? split.high : split.low).push_back(entry);
  }
  if (prompt.query_moments != nullptr && !(split.high.empty() && split.low.empty())) {
    const int64_t moments = int64_t{head_dim} * head_dim;
    split.feedback = KeyFeedback(prompt.query_moments + head * moments, head_dim);
  }
  return split;
}

}  // namespace

void SessionCache::BeginPackedStep(int64_t seen, int32_t more) {
  const bool fold = !decoding_;
  if (!fold && packing_->budget() == budget_) {
    return;
  }
  step_holds_ = Holds(more);
  PrecisionPlan plan = packing_->PlanFor(budget_, seen, layer_split(), step_holds_);
  step_ = packing_->Effective(plan, budget_, seen, step_holds_);
  step_bytes_max_ = std::max({budget_.bytes - AppendHeadroomBytes(layout_, shape_),
                              step_.bytes_used_at_shares, used_bytes()});
  fold ? packing_->BeginFold(std::move(plan), budget_, seen)
       : packing_->SetLimits(plan, budget_, seen);
}

HeadPlan SessionCache::PackedShare(int layer) const {
  HeadPlan share = packing_->plan().layers[layer];
  if (budget_.unit != Budget::Unit::kBytes) {
    return share;
  }
  // See ShareWithinBytes: a layer that grows gives way to those that have not shrunk yet.
  int64_t layer_bytes = 0;
  for (int head = 0; head < shape_.kv_heads; ++head) {
    layer_bytes += Head(layer, head).used_bytes();
  }
  const int64_t left = step_bytes_max_ - (used_bytes() - layer_bytes);
  PrecisionPlan plan = packing_->plan();
  HeadPlan& given = plan.layers[layer];
  const auto fits = [&] {
    return packing_->LayerBytes(plan, static_cast<size_t>(layer), seen_ + prefill_tokens_) <= left;
  };
  const int32_t floor = step_rules().floor();
  while (!fits() && given.low + given.high > 0 && given.room() - kGroupEntries >= floor) {
    given.low > 0 ? --given.low : --given.high;
  }
  while (!fits() && given.rows > kFloorRows && given.room() > floor) {
    --given.rows;
  }
  return given;
}

Selection SessionCache::SelectPacked(int layer, const LayerView& view) const {
  const int64_t room = std::min<int64_t>(view.entries, PackedShare(layer).room());
  return policy_->Select(view, static_cast<int32_t>(room), next_rules_);
}

absl::Status SessionCache::StorePacked(int layer, const LayerPrompt& prompt, const LayerView& view,
                                       const Selection& kept, RunTasks run) {
  const HeadPlan share = PackedShare(layer);
  const PrecisionPlan& plan = packing_->plan();
  const int64_t high = int64_t{share.high} * kGroupEntries;
  const std::array<int64_t, 2> counts = {share.rows, share.rows + high};
  // Pins and turns have a say in what is kept, not in how well.
  std::array<Selection, 2> best;
  run(2, [&](int64_t i) {
    const auto most = static_cast<int32_t>(std::min<int64_t>(counts[i], view.entries));
    best[i] = policy_->Select(view, most);
  });
  const auto& [best_rows, best_high] = best;

  std::vector<TieredHead> heads(static_cast<size_t>(shape_.kv_heads));
  run(shape_.kv_heads, [&](int64_t head) {
    std::vector<Tier> tiers(static_cast<size_t>(view.entries), Tier::kDropped);
    for (const int32_t index : kept[head]) tiers[index] = Tier::kLow;
    Raise(&tiers, Tier::kLow, Tier::kRow, best_rows[head], share.rows);
    Raise(&tiers, Tier::kLow, Tier::kHigh, best_high[head], high);
    heads[head] = SplitByTier(Head(layer, static_cast<int>(head)), prompt,
                              static_cast<int32_t>(head), shape_.head_dim, tiers);
  });
  std::vector<std::vector<GroupImage>> images;
  for (const TieredHead& head : heads) {
    const auto pack = [&](int kind, const std::vector<GroupEntry>& entries) {
      return PackGroups(packing_->kinds(), kind, entries, head.old,
                        GroupsFor(static_cast<int64_t>(entries.size())), head.feedback, run);
    };
    images.push_back(pack(plan.high, head.high));
    std::ranges::move(pack(plan.low, head.low), std::back_inserter(images.back()));
  }
  ReleaseLayer(layer);
  for (int head = 0; head < shape_.kv_heads; ++head) {
    if (absl::Status stored = StoreHead(layer, head, prompt, heads[head].rows, images[head]);
        !stored.ok()) {
      ReleaseLayer(layer);
      return stored;
    }
  }
  return absl::OkStatus();
}

absl::Status SessionCache::StoreHead(int layer, int head, const LayerPrompt& prompt,
                                     std::span<const int32_t> rows,
                                     std::span<const GroupImage> images) {
  HeadCache& cache = Head(layer, head);
  int64_t bytes = 0;
  for (const GroupImage& image : images) {
    bytes += GroupStore::RecordBytes(packing_->kinds()[image.kind], packing_->long_births());
  }
  const int64_t group_pages = (bytes + layout_.page_bytes() - 1) / layout_.page_bytes();
  const int64_t row_pages = cache.PagesMissingFor(static_cast<int64_t>(rows.size()));
  std::vector<PageId> pages;
  if (absl::Status taken = account_.Take(group_pages + row_pages, &pages); !taken.ok()) {
    return taken;
  }
  std::sort(pages.begin(), pages.end());  // a group's pages should be neighbours
  const std::span<const PageId> all(pages);
  cache.StoreGroups(images, packing_->long_births(), all.first(group_pages), *account_.pool());
  for (const PageId page : all.subspan(group_pages)) {
    cache.AddPage(page, account_.pool()->Data(page));
  }
  AppendKept(prompt, rows, head, &cache);
  cache.MarkFold();
  return absl::OkStatus();
}

// What is done depends on counts alone, so that all heads of a layer hold as many entries.
//
// With groups to spare, the least of what the last fold packed makes room for the newest tokens:
// a group of it at a time, so that these stay exact for a while and then have groups of their own.
// With few groups, or where pins or turns say what may go, every token takes the place of one
// entry.
int64_t SessionCache::ShrinkHead(int layer, int head) {
  HeadCache* cache = &Head(layer, head);
  const int64_t limit = packing_->HeadLimit(layer, seen_ + 1);
  const int64_t affordable = limit / layout_.entry_payload_bytes() / 8;
  const GroupStore& groups = cache->groups();
  const auto cost = [&] {
    return packing_->CostIsPages() ? cache->used_bytes() : cache->payload_bytes();
  };
  int64_t evicted = 0;
  while (cost() > limit && cache->entries() > kFloorRows) {
    const bool plenty = groups.groups() >= kPlentyOfGroups && rules_.none();
    if (!plenty || groups.EmptiestOfLastKind() < 0) cache->SettleGroups();
    const GroupOrigin open = plenty ? GroupOrigin::kDecode : GroupOrigin::kFold;
    const int64_t moved = plenty ? std::clamp<int64_t>(affordable, 1, kMovedAtOnce) : 1;
    const int32_t holes = groups.holes(open);
    std::vector<int32_t> spare;
    if (groups.TakesBirth(static_cast<uint32_t>(seen_))) {
      spare = cache->SpareRows(plenty ? std::min(kExactNewest, affordable) : 0,
                               holes > 0 ? std::min<int64_t>(moved, holes) : kGroupEntries);
    }
    if (holes > 0 && static_cast<int64_t>(spare.size()) >= std::min<int64_t>(moved, holes)) {
      for (const int32_t index : spare) cache->MoveToHole(index, open, &account_);
    } else if (holes == 0 && OpenGroup(std::move(spare), cache)) {
      continue;
    } else if (groups.holes(GroupOrigin::kFold) >= kGroupEntries) {
      cache->GiveGroupUp(&account_);
    } else if (cache->entries() <= rules_.floor()) {
      break;
    } else {
      // With plenty nothing but holes changes until they are a group's worth.
      const std::vector<int32_t> may_go =
          plenty ? cache->PackedBy(GroupOrigin::kFold) : std::vector<int32_t>();
      const int32_t count = may_go.empty()
                                ? 1
                                : std::min(kGroupEntries - groups.holes(GroupOrigin::kFold),
                                           static_cast<int32_t>(may_go.size()));
      const std::vector<int32_t> victims = PackedVictims(layer, head, may_go, count);
      for (auto victim = victims.rbegin(); victim != victims.rend(); ++victim) {
        cache->RemoveInBirthOrder(*victim, &account_);
        ++evicted;
      }
    }
  }
  return evicted;
}

// These rows become a group, where they cost more than one, in pages as well: nothing
// that fails for one head and not for another.
bool SessionCache::OpenGroup(std::vector<int32_t> rows, HeadCache* cache) {
  const int kind =
      cache->groups().groups() > 0 ? cache->groups().last_kind() : packing_->plan().low;
  const auto count = static_cast<int64_t>(rows.size());
  if (count * layout_.entry_payload_bytes() <= packing_->kinds()[kind].bytes() ||
      !cache->PaysForGroup(count, kind)) {
    return false;
  }
  std::sort(rows.begin(), rows.end());
  cache->MoveToNewGroup(packing_->kinds(), kind, rows, &account_);
  return true;
}

}  // namespace concertina
