#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cache/entry_layout.h"
#include "cache/page_account.h"

namespace concertina {

// The entries of one (session, layer, KV head): a list of pages, filled without gaps. Slots are
// numbered 0..entries-1 across the pages. Evicting moves the last entry into the hole, so that a
// page is free as soon as the count allows; slot order and birth order therefore differ after
// evictions.
//
// Pages may be in common with the same head of a fork. They are read freely; before a write,
// MakeWritable replaces those that others hold by private copies.
//
// Between BeginLive and EndLive the head also keeps S in f32 and the birth order of its slots;
// outside, the metadata in the pages is all there is. Owned by the engine thread. Pages go back
// through ReleaseAll.
class HeadCache {
 public:
  explicit HeadCache(const EntryLayout* layout) : layout_(layout) {}

  int32_t entries() const { return entries_; }
  int64_t pages() const { return static_cast<int64_t>(ids_.size()); }
  int64_t used_bytes() const { return pages() * layout_->page_bytes(); }
  const uint8_t* const* page_pointers() const { return bases_.data(); }

  std::span<const PageId> page_ids() const { return ids_; }

  // Pages lacking for `entries` entries in all.
  int64_t PagesMissingFor(int64_t entries) const;
  void AddPage(PageId id, uint8_t* address);

  // Becomes the same entries in the same pages, of which the caller made it a holder
  // (PageAccount::Share). REQUIRES: empty; `other` of the same layout and not live.
  void ShareEntriesOf(const HeadCache& other);
  // The page the next entry goes to.
  int64_t PageOfNext() const { return entries_ / layout_->entries_per_page(); }
  // Pages from `first` on that others hold too.
  int64_t PagesToCopy(int64_t first, const PageAccount& account) const;
  // Makes the pages from `first` on this head's own, copying into pages taken off the end of
  // `fresh` what others hold. REQUIRES: fresh has PagesToCopy() of them.
  void MakeWritable(int64_t first, PageAccount* account, std::vector<PageId>* fresh);

  // Appends an entry to the next slot. REQUIRES: its page was added and is writable; not live.
  void Append(const float* k, const float* v, EntryMeta meta);

  EntryMeta Meta(int32_t slot) const;
  void LoadKey(int32_t slot, float* k) const;
  void LoadValue(int32_t slot, float* v) const;
  void StoreKey(int32_t slot, const float* k);

  // Slots by ascending birth. A copy; the live order when there is one.
  std::vector<int32_t> SlotsInBirthOrder() const;

  // How many entries the last fold left here (the fixed-point eviction of `elastic` counts from
  // it).
  int32_t entries_at_fold() const { return entries_at_fold_; }
  void MarkFold() { entries_at_fold_ = entries_; }

  void ReleaseAll(PageAccount* account);

  // --- while decoding ---
  bool live() const { return live_; }
  void BeginLive();  // idempotent
  // Packs S into the pages, or forgets it. Idempotent. REQUIRES: only S in pages of this head's own
  // has changed.
  void EndLive(bool keep_scores, const PagePool& pool);
  void AppendLive(const float* k, const float* v, uint32_t birth);  // S = 0, mass 1
  float* live_scores() { return scores_.data(); }                   // by slot
  // Copies S in birth order.
  void ScoresInBirthOrder(std::vector<float>* out) const;
  // Removes the index-th entry in birth order and gives surplus pages back. REQUIRES: its page is
  // writable, unless it is the last slot's.
  void RemoveInBirthOrder(int32_t index, PageAccount* account);
  uint32_t NewestBirth() const;  // REQUIRES: live, not empty
  // Slot of the index-th entry in birth order. REQUIRES: live.
  int32_t LiveSlot(int32_t index) const { return order_[index]; }

 private:
  uint8_t* Page(int32_t slot) const { return bases_[slot / layout_->entries_per_page()]; }
  int64_t InPage(int32_t slot) const { return slot % layout_->entries_per_page(); }
  uint8_t* MetaAt(int32_t slot) const;
  void SetMeta(int32_t slot, EntryMeta meta);
  void MoveEntry(int32_t from, int32_t to);
  void ReleaseSurplus(PageAccount* account);

  const EntryLayout* layout_;
  int32_t entries_ = 0;
  int32_t entries_at_fold_ = 0;
  bool live_ = false;
  std::vector<PageId> ids_;
  std::vector<uint8_t*> bases_;
  std::vector<float> scores_;   // live: S by slot
  std::vector<int32_t> order_;  // live: slots by ascending birth
};

}  // namespace concertina
