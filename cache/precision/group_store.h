#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "cache/page_account.h"
#include "cache/precision/group_image.h"

namespace concertina {

// The packed groups of one (session, layer, KV head), one after another in a list of pages:
//
//   record = [group, see GroupLayout][births: 32 x 2 or 4][scores: 32 x 2]
//
// first those of the better kind, then the others. A group is read through one address: where its
// pages are not neighbours, which is rare, a copy of it is kept while decoding.
//
// Entries have slots as DecodeItem counts them: 32 for each group, of each kind a multiple of 64.
// Which of them are there is known beside the pages, by one bit each.
//
// Births of two bytes are the rule; of four where kShortBirths would not do, which is decided when
// all groups are stored. Owned by the engine thread. Pages go back through ReleaseAll.
class GroupStore {
 public:
  static constexpr int64_t kShortBirths = 65536;
  static int64_t RecordBytes(const GroupLayout& layout, bool long_births) {
    return layout.bytes() + kGroupEntries * (long_births ? 6 : 4);
  }

  GroupStore(const GroupKinds* kinds, int64_t page_bytes)
      : kinds_(kinds), page_bytes_(page_bytes) {}

  int32_t groups() const { return static_cast<int32_t>(refs_.size()); }
  int32_t entries() const { return entries_; }
  // REQUIRES: there are groups.
  int last_kind() const { return refs_.back().kind; }
  int32_t slots() const { return SlotsOf(high_) + SlotsOf(groups() - high_); }
  // Places without an entry in groups of this origin.
  int32_t holes(GroupOrigin origin) const { return holes_[static_cast<size_t>(origin)]; }
  int64_t payload_bytes() const { return payload_bytes_; }
  int64_t pages() const { return static_cast<int64_t>(ids_.size()); }
  std::span<const PageId> page_ids() const { return ids_; }
  bool TakesBirth(uint32_t birth) const { return long_births_ || birth < kShortBirths; }

  bool Has(int32_t slot) const;
  // f(slot, origin) for every entry.
  template <typename F>
  void ForEachEntry(F f) const {
    for (int32_t group = 0; group < groups(); ++group) {
      const int32_t first = SlotOf(group, 0);
      for (uint32_t left = refs_[group].present; left != 0; left &= left - 1) {
        f(first + std::countr_zero(left), refs_[group].origin);
      }
    }
  }
  // The entry there. REQUIRES: Has(slot).
  EntryMeta Meta(int32_t slot) const;
  // Births by slot, of any number where there is no entry. REQUIRES: as many as slots() or more.
  void LoadBirths(std::span<uint32_t> births) const;
  // REQUIRES: the page it lies in is this store's own, if it changes anything.
  void SetScore(int32_t slot, uint16_t score, const PagePool& pool);
  void LoadKey(int32_t slot, float* k) const;
  void LoadValue(int32_t slot, float* v) const;
  // A group's entries i with places[i] >= 0, each to row places[i] of k and v.
  void LoadGroup(int32_t group, std::span<const int32_t> places, float* k, float* v) const;
  // Entry `index` of an image.
  void LoadFrom(const GroupImage& image, int32_t index, float* k, float* v) const;
  // Of the last fold's groups of the lesser kind, the one with the fewest entries; -1: there is
  // none.
  int32_t EmptiestOfLastKind() const;
  // A slot without an entry, of the last such group that has one; -1: there is none.
  int32_t Hole(GroupOrigin origin) const;
  // All groups become the last fold's.
  void Settle();
  // Stores an entry there (PutInGroup). REQUIRES: a hole, TakesBirth(meta.birth), in pages that are
  // this store's own.
  void Put(int32_t slot, const float* k, const float* v, EntryMeta meta);
  void Remove(int32_t slot);

  // All groups, out of their pages; Store() puts them back in the same order.
  std::vector<GroupImage> Images() const;
  GroupImage Image(int32_t group) const;
  // Which group a slot belongs to, and which of its 32 places it is.
  int32_t GroupOf(int32_t slot) const;
  static int32_t IndexOf(int32_t slot) { return slot % kGroupEntries; }
  int32_t SlotOf(int32_t group, int32_t index) const;

  // Pages lacking for one more group of a kind.
  int64_t PagesMissingFor(int kind) const;
  // Stores these in place of what is there: the best kinds first, of two kinds at most. `pages`:
  // as many as the records fill, taken. REQUIRES: empty.
  void Store(std::span<const GroupImage> images, bool long_births, std::span<const PageId> pages,
             const PagePool& pool);
  // One more group of the lesser kind. REQUIRES: PagesMissingFor() pages, taken, in `pages`.
  void Append(const GroupImage& image, std::span<const PageId> pages, const PagePool& pool);
  // Takes the last group off and gives back the pages it leaves.
  void RemoveLast(PageAccount* account);
  // Overwrites a group with another of its kind.
  void Replace(int32_t group, const GroupImage& image);
  void ReleaseAll(PageAccount* account);

  // Becomes the same groups in the same pages, of which the caller made it a holder.
  void ShareGroupsOf(const GroupStore& other);
  int64_t PagesToCopy(const PageAccount& account) const;
  // As HeadCache has it.
  void MakeWritable(PageAccount* account, std::vector<PageId>* fresh);

  // For the decode kernel: groups of the better kind (0) and of the other (1). Valid until the
  // groups change.
  struct Packed {
    const GroupLayout* layout = nullptr;
    const uint8_t* const* groups = nullptr;
    const uint32_t* present = nullptr;  // of each group, bit i: entry i is there
    int32_t count = 0;
  };
  Packed packed(int tier) const;
  // Makes packed() known, and keeps it so until EndLive().
  void BeginLive();
  void EndLive();

 private:
  struct Ref {
    int64_t offset;  // of its record, in the pages one after another
    int kind;
    uint32_t present;
    GroupOrigin origin = GroupOrigin::kFold;
  };

  static int32_t SlotsOf(int32_t groups) { return (groups + 1) / 2 * 2 * kGroupEntries; }
  const GroupLayout& LayoutOf(const Ref& ref) const { return (*kinds_)[ref.kind]; }
  int64_t End() const;
  bool IsWhole(const Ref& ref) const;
  uint8_t* Address(const Ref& ref) const {
    return bases_[ref.offset / page_bytes_] + ref.offset % page_bytes_;
  }
  // A group's codes: where they lie or, if in pages apart, copied to `scratch`.
  const uint8_t* Codes(const Ref& ref, std::vector<uint8_t>* scratch) const;
  void Read(int64_t offset, int64_t bytes, void* out) const;
  void Write(int64_t offset, int64_t bytes, const void* from);
  void WriteImage(const Ref& ref, const GroupImage& image);
  void AddPages(std::span<const PageId> pages, const PagePool& pool);
  int32_t& HolesOf(const Ref& ref) { return holes_[static_cast<size_t>(ref.origin)]; }
  void CountHoles();
  void SetPresent(int32_t group, uint32_t present);
  // Live: learns where groups from `first` on lie.
  void Refresh(int32_t first = 0);

  const GroupKinds* kinds_;
  int64_t page_bytes_;
  std::vector<Ref> refs_;
  int32_t high_ = 0;  // groups of the better kind
  int32_t entries_ = 0;
  int32_t holes_[2] = {};  // by origin
  int64_t payload_bytes_ = 0;
  bool long_births_ = false;
  std::vector<PageId> ids_;
  std::vector<uint8_t*> bases_;

  bool live_ = false;
  std::vector<const uint8_t*> addresses_;     // live: by group
  std::vector<uint32_t> present_;             // live: by group
  std::vector<std::vector<uint8_t>> copies_;  // live: of groups in pages apart
};

}  // namespace concertina
