#include <algorithm>
#include <bit>
#include <utility>

#include "cache/check.h"
#include "cache/head_cache.h"

// What only heads with packed groups do.

namespace concertina {

void HeadCache::LoadEntries(std::span<const int32_t> slots, float* k, float* v) const {
  const int64_t d = layout_->head_dim();
  std::vector<int32_t> place(static_cast<size_t>(first_row()), -1);
  for (size_t i = 0; i < slots.size(); ++i) {
    const auto at = static_cast<int64_t>(i) * d;
    if (slots[i] < first_row()) {
      place[slots[i]] = static_cast<int32_t>(i);
    } else {
      LoadKey(slots[i], k + at);
      LoadValue(slots[i], v + at);
    }
  }
  for (int32_t group = 0; group < groups_.groups(); ++group) {
    groups_.LoadGroup(
        group, std::span<const int32_t>(place).subspan(groups_.SlotOf(group, 0), kGroupEntries), k,
        v);
  }
}

void HeadCache::RotateGroups(const GroupKinds& kinds, const std::function<int64_t(uint32_t)>& delta,
                             const std::function<void(float*, int64_t)>& rotate) {
  const int64_t d = layout_->head_dim();
  std::vector<float> keys(static_cast<size_t>(kGroupEntries * d));
  for (int32_t group = 0; group < groups_.groups(); ++group) {
    GroupImage image = groups_.Image(group);
    if (image.present == 0) continue;
    const GroupLayout& layout = kinds[image.kind];
    LoadGroupKeys(layout, image.codes.data(), kGroupEntries, keys.data());
    const int present = std::countr_zero(image.present);
    bool rotated = false;
    for (int i = 0; i < kGroupEntries; ++i) {
      const int64_t by = (image.present >> i & 1U) != 0 ? delta(image.births[i]) : 0;
      if (by == 0) continue;
      rotate(keys.data() + i * d, by);
      rotated = true;
    }
    if (!rotated) continue;
    for (int i = 0; i < kGroupEntries; ++i) {  // holes must not widen the grid
      if ((image.present >> i & 1U) != 0) continue;
      std::copy_n(keys.data() + present * d, d, keys.data() + i * d);
    }
    ReplaceGroupKeys(layout, keys.data(), kGroupEntries, image.codes.data());
    groups_.Replace(group, image);
  }
}

void HeadCache::ShiftRows(int32_t first_row_before) {
  const int32_t by = first_row() - first_row_before;
  for (int32_t& slot : order_) slot += slot >= first_row_before ? by : 0;
  const auto begin = scores_.begin();
  if (by > 0) {
    scores_.insert(begin + first_row_before, static_cast<size_t>(by), 0.0F);
  } else {
    scores_.erase(begin + first_row(), begin + first_row_before);
  }
}

std::vector<int32_t> HeadCache::SpareRows(int64_t exact, int64_t most) const {
  std::vector<int32_t> spare;
  const auto is_row = [this](int32_t slot) { return slot >= first_row(); };
  int32_t left = rows_ - (is_row(order_.front()) ? 1 : 0) - (is_row(order_.back()) ? 1 : 0);
  for (auto i = static_cast<int32_t>(order_.size()) - 2; i > 0 && left > 0; --i) {
    if (!is_row(order_[i])) continue;
    --left;
    if (--exact < 0) spare.push_back(i);
  }
  const auto lowest = spare.begin() + std::min<int64_t>(most, static_cast<int64_t>(spare.size()));
  std::partial_sort(spare.begin(), lowest, spare.end(), [this](int32_t a, int32_t b) {
    return std::pair(scores_[order_[a]], a) < std::pair(scores_[order_[b]], b);
  });
  spare.erase(lowest, spare.end());
  return spare;
}

std::vector<int32_t> HeadCache::PackedBy(GroupOrigin origin) const {
  std::vector<uint8_t> packed_by_it(scores_.size(), 0);
  groups_.ForEachEntry([&](int32_t slot, GroupOrigin by) { packed_by_it[slot] = by == origin; });
  std::vector<int32_t> packed;
  for (int32_t i = 1; i + 1 < static_cast<int32_t>(order_.size()); ++i) {
    if (packed_by_it[order_[i]] != 0) packed.push_back(i);
  }
  return packed;
}

void HeadCache::MoveToHole(int32_t index, GroupOrigin origin, PageAccount* account) {
  const int32_t row = order_[index];
  const int32_t hole = groups_.Hole(origin);
  CONCERTINA_CHECK(row >= first_row() && hole >= 0, "only rows go to holes");
  std::vector<float> k(static_cast<size_t>(layout_->head_dim()));
  std::vector<float> v(k.size());
  LoadKey(row, k.data());
  LoadValue(row, v.data());
  groups_.Put(hole, k.data(), v.data(), Meta(row));
  scores_[hole] = scores_[row];
  order_[index] = hole;
  RemoveRow(row, account);
}

bool HeadCache::PaysForGroup(int64_t rows, int kind) const {
  return row_pages() - layout_->PagesFor(rows_ - rows) >= groups_.PagesMissingFor(kind);
}

void HeadCache::MoveToNewGroup(const GroupKinds& kinds, int kind, std::span<const int32_t> indices,
                               PageAccount* account) {
  const int64_t d = layout_->head_dim();
  std::vector<float> k(indices.size() * static_cast<size_t>(d));
  std::vector<float> v(k.size());
  std::vector<GroupEntry> entries;
  std::vector<float> scores;
  for (const int32_t index : indices) {
    const int32_t slot = order_[index];
    float* key = k.data() + static_cast<int64_t>(entries.size()) * d;
    float* value = v.data() + static_cast<int64_t>(entries.size()) * d;
    LoadKey(slot, key);
    LoadValue(slot, value);
    entries.push_back({.birth = Meta(slot).birth, .score = 0, .k = key, .v = value});
    scores.push_back(scores_[slot]);
  }
  for (const int32_t index : indices) {
    const int32_t row = order_[index];
    order_[index] = -1;
    RemoveRow(row, account);
  }
  std::vector<PageId> pages;
  const absl::Status taken = account->Take(groups_.PagesMissingFor(kind), &pages);
  CONCERTINA_CHECK(taken.ok(), "the pages that rows have just left are gone");
  std::sort(pages.begin(), pages.end());
  const int32_t first_row_before = first_row();
  const int32_t group = groups_.groups();
  groups_.Append(PackGroups(kinds, kind, entries, {}, 1).front(), pages, *account->pool());
  ShiftRows(first_row_before);
  for (size_t i = 0; i < indices.size(); ++i) {
    const int32_t slot = groups_.SlotOf(group, static_cast<int32_t>(i));
    order_[indices[i]] = slot;
    scores_[slot] = scores[i];
  }
}

void HeadCache::GiveGroupUp(PageAccount* account) {
  CONCERTINA_CHECK(live_ && groups_.holes(GroupOrigin::kFold) >= kGroupEntries,
                   "no room for a group's entries");
  std::vector<int32_t> place_of(static_cast<size_t>(first_row()), -1);  // in the order of births
  for (size_t i = 0; i < order_.size(); ++i) {
    if (order_[i] < first_row()) place_of[order_[i]] = static_cast<int32_t>(i);
  }
  // The last one leaves no gap; another with fewer entries first takes its place.
  const int32_t group = groups_.EmptiestOfLastKind();
  const GroupImage gone = groups_.Image(group);
  const int32_t last = groups_.groups() - 1;
  std::vector<float> scores;
  std::vector<int32_t> places;
  for (int32_t i = 0; i < kGroupEntries; ++i) {
    const int32_t slot = groups_.SlotOf(group, i);
    scores.push_back(scores_[slot]);
    places.push_back(place_of[slot]);
  }
  if (group != last) {
    for (int32_t i = 0; i < kGroupEntries; ++i) {
      const int32_t from = groups_.SlotOf(last, i);
      if (!groups_.Has(from)) continue;
      order_[place_of[from]] = groups_.SlotOf(group, i);
      scores_[groups_.SlotOf(group, i)] = scores_[from];
    }
    groups_.Replace(group, groups_.Image(last));
  }
  const int32_t first_row_before = first_row();
  groups_.RemoveLast(account);
  ShiftRows(first_row_before);
  PutBack(gone, places, scores);
}

void HeadCache::PutBack(const GroupImage& gone, std::span<const int32_t> places,
                        std::span<const float> scores) {
  std::vector<float> k(static_cast<size_t>(layout_->head_dim()));
  std::vector<float> v(k.size());
  for (int32_t i = 0; i < kGroupEntries; ++i) {
    if (places[i] < 0) continue;
    groups_.LoadFrom(gone, i, k.data(), v.data());
    const int32_t hole = groups_.Hole(GroupOrigin::kFold);
    groups_.Put(hole, k.data(), v.data(),
                {.birth = gone.births[i], .score = gone.scores[i], .mass = 1});
    order_[places[i]] = hole;
    scores_[hole] = scores[i];
  }
}

}  // namespace concertina
