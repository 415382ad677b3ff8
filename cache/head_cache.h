#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "cache/entry_layout.h"
#include "cache/page_account.h"
#include "cache/precision/group_store.h"

namespace concertina {

// The entries of one (session, layer, KV head): rows, exact in their type, in a list of pages
// filled without gaps, and with EntryType::kPacked packed groups (GroupStore) beside them. Slots
// are numbered as DecodeItem counts them: those of groups, which may be empty, then the rows.
// Evicting a row moves the last one into the hole, so that a page is free as soon as the count
// allows; slot order and birth order therefore differ after evictions.
//
// Pages may be in common with the same head of a fork. They are read freely; before a write,
// MakeWritable replaces those that others hold by private copies.
//
// Between BeginLive and EndLive the head also keeps S in f32 and the birth order of its slots;
// outside, the metadata in the pages is all there is. Owned by the engine thread. Pages go back
// through ReleaseAll.
//
// head_cache.cpp has what every head does, head_groups.cpp what only heads with groups do.
class HeadCache {
 public:
  // `kinds`: of groups; null where there will be none.
  explicit HeadCache(const EntryLayout* layout, const GroupKinds* kinds = nullptr)
      : layout_(layout), groups_(kinds, layout->page_bytes()) {}

  int32_t entries() const { return rows_ + groups_.entries(); }
  int32_t rows() const { return rows_; }
  const GroupStore& groups() const { return groups_; }
  int64_t pages() const { return row_pages() + groups_.pages(); }
  int64_t used_bytes() const { return pages() * layout_->page_bytes(); }
  int64_t payload_bytes() const {
    return rows_ * layout_->entry_payload_bytes() + groups_.payload_bytes();
  }
  // Of the rows.
  const uint8_t* const* page_pointers() const { return bases_.data(); }
  std::span<const PageId> page_ids() const { return ids_; }

  // Pages lacking for so many more rows.
  int64_t PagesMissingFor(int64_t more) const;
  void AddPage(PageId id, uint8_t* address);

  // Becomes the same entries in the same pages, of which the caller made it a holder
  // (PageAccount::Share). REQUIRES: empty; `other` of the same layout and not live.
  void ShareEntriesOf(const HeadCache& other);
  // The page the next row goes to.
  int64_t PageOfNext() const { return rows_ / layout_->entries_per_page(); }
  // Pages of rows from `first` on that others hold too, and all such pages of groups.
  int64_t PagesToCopy(int64_t first, const PageAccount& account) const;
  // Makes the pages from `first` on this head's own, copying into pages taken off the end of
  // `fresh` what others hold. REQUIRES: fresh has PagesToCopy() of them.
  void MakeWritable(int64_t first, PageAccount* account, std::vector<PageId>* fresh);

  // Appends a row to the next slot. REQUIRES: its page was added and is writable; not live.
  void Append(const float* k, const float* v, EntryMeta meta);

  EntryMeta Meta(int32_t slot) const;
  void LoadKey(int32_t slot, float* k) const;
  void LoadValue(int32_t slot, float* v) const;
  // REQUIRES: a row.
  void StoreKey(int32_t slot, const float* k);
  // The slot of the first row; those before are the groups'.
  int32_t first_row() const { return groups_.slots(); }

  // Slots by ascending birth. A copy; the live order when there is one.
  std::vector<int32_t> SlotsInBirthOrder() const;

  // How many entries the last fold left here (the fixed-point eviction of `elastic` counts from
  // it).
  int32_t entries_at_fold() const { return entries_at_fold_; }
  void MarkFold() { entries_at_fold_ = entries(); }

  void ReleaseAll(PageAccount* account);

  // --- while decoding ---
  bool live() const { return live_; }
  // Idempotent. `weigh_mass`: attention adds the logarithm of an entry's mass to its score.
  void BeginLive(bool weigh_mass = false);
  // Packs S into the pages, or forgets it. Idempotent. REQUIRES: only S in pages of this head's own
  // has changed.
  void EndLive(bool keep_scores, const PagePool& pool);
  void AppendLive(const float* k, const float* v, uint32_t birth);  // S = 0, mass 1
  float* live_scores() { return scores_.data(); }                   // by slot
  // Copies S in birth order.
  void ScoresInBirthOrder(std::vector<float>* out) const;
  std::vector<uint32_t> BirthsInBirthOrder() const;
  // Removes the index-th entry in birth order and gives surplus pages back. REQUIRES: its page is
  // writable, unless it is the last slot's.
  void RemoveInBirthOrder(int32_t index, PageAccount* account);
  uint32_t NewestBirth() const;  // REQUIRES: live, not empty
  // Slot of the index-th entry in birth order. REQUIRES: live.
  int32_t LiveSlot(int32_t index) const { return order_[index]; }

  // --- groups ---
  // Entries in `slots`, one after another: [slots][head_dim].
  void LoadEntries(std::span<const int32_t> slots, float* k, float* v) const;
  // Stores these groups in place of none, in pages taken for them.
  void StoreGroups(std::span<const GroupImage> images, bool long_births,
                   std::span<const PageId> pages, const PagePool& pool) {
    groups_.Store(images, long_births, pages, pool);
  }
  // Rotates the keys of all groups (`rotate`), each by what `delta` says for its birth. They are
  // rounded again.
  void RotateGroups(const GroupKinds& kinds, const std::function<int64_t(uint32_t)>& delta,
                    const std::function<void(float*, int64_t)>& rotate);

  // While decoding. By slot, what attention is to add to scores so that merged entries get what
  // they stand for; null where there are none.
  const float* live_bias() const { return bias_.empty() ? nullptr : bias_.data(); }
  // Rows that may go to a group, so many at most: of all but the first and the newest entry and the
  // `exact` newest others those of the lowest S, the lowest first. By birth order.
  std::vector<int32_t> SpareRows(int64_t exact, int64_t most) const;
  // Moves the row at `index` in birth order to a hole of a group of this origin. REQUIRES: there is
  // one that takes its birth.
  void MoveToHole(int32_t index, GroupOrigin origin, PageAccount* account);
  // Whether so many rows leave as many pages as a new group of this kind lacks.
  bool PaysForGroup(int64_t rows, int kind) const;
  // Moves the rows at `indices` in birth order, ascending, to a new group of this kind, into pages
  // that they leave. REQUIRES: PaysForGroup().
  void MoveToNewGroup(const GroupKinds& kinds, int kind, std::span<const int32_t> indices,
                      PageAccount* account);
  // Entries in groups of this origin but for the first and the newest entry, by birth order.
  std::vector<int32_t> PackedBy(GroupOrigin origin) const;
  // Groups that decoding added count as the last fold's.
  void SettleGroups() { groups_.Settle(); }
  // Gives one of the last fold's groups of the lesser kind up: its entries go to holes of the
  // others. REQUIRES: there is one, and the last fold's have at least 32 holes.
  void GiveGroupUp(PageAccount* account);

 private:
  int64_t row_pages() const { return static_cast<int64_t>(ids_.size()); }
  // Of a row, counted from 0.
  uint8_t* Page(int32_t row) const { return bases_[row / layout_->entries_per_page()]; }
  int64_t InPage(int32_t row) const { return row % layout_->entries_per_page(); }
  uint8_t* MetaAt(int32_t row) const;
  EntryMeta RowMeta(int32_t row) const;
  void SetMeta(int32_t row, EntryMeta meta);
  void RemoveRow(int32_t slot, PageAccount* account);
  void ReleaseSurplus(PageAccount* account);
  // Live: group slots came or went before the rows.
  void ShiftRows(int32_t first_row_before);
  void WeighMass();
  // Entries of a group that was given up, to holes; places: in birth order, -1 for none.
  void PutBack(const GroupImage& gone, std::span<const int32_t> places,
               std::span<const float> scores);

  const EntryLayout* layout_;
  int32_t rows_ = 0;
  GroupStore groups_;
  int32_t entries_at_fold_ = 0;
  bool live_ = false;
  std::vector<PageId> ids_;
  std::vector<uint8_t*> bases_;
  std::vector<float> scores_;   // live: S by slot
  std::vector<float> bias_;     // live: by slot
  std::vector<int32_t> order_;  // live: slots by ascending birth
};

}  // namespace concertina
