#include "cache/precision/group_store.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "cache/check.h"

namespace concertina {

bool GroupStore::Has(int32_t slot) const {
  const int32_t group = GroupOf(slot);
  return group >= 0 && (refs_[group].present >> IndexOf(slot) & 1U) != 0;
}

int32_t GroupStore::GroupOf(int32_t slot) const {
  const int32_t high_slots = SlotsOf(high_);
  if (slot < high_slots) {
    const int32_t group = slot / kGroupEntries;
    return group < high_ ? group : -1;
  }
  const int32_t group = high_ + (slot - high_slots) / kGroupEntries;
  return group < groups() ? group : -1;
}

int32_t GroupStore::SlotOf(int32_t group, int32_t index) const {
  const int32_t before =
      group < high_ ? group * kGroupEntries : SlotsOf(high_) + (group - high_) * kGroupEntries;
  return before + index;
}

EntryMeta GroupStore::Meta(int32_t slot) const {
  CONCERTINA_CHECK(Has(slot), "no entry in this slot");
  const Ref& ref = refs_[GroupOf(slot)];
  const int64_t births = ref.offset + LayoutOf(ref).bytes();
  const int64_t width = long_births_ ? 4 : 2;
  EntryMeta meta{.birth = 0, .score = 0, .mass = 1};
  Read(births + IndexOf(slot) * width, width, &meta.birth);  // little-endian
  Read(births + kGroupEntries * width + IndexOf(slot) * 2, 2, &meta.score);
  return meta;
}

void GroupStore::LoadBirths(std::span<uint32_t> births) const {
  for (int32_t group = 0; group < groups(); ++group) {
    const Ref& ref = refs_[group];
    const int64_t at = ref.offset + LayoutOf(ref).bytes();
    const std::span<uint32_t> to = births.subspan(SlotOf(group, 0), kGroupEntries);
    if (long_births_) {
      Read(at, kGroupEntries * int64_t{sizeof(uint32_t)}, to.data());
      continue;
    }
    uint16_t stored[kGroupEntries];
    Read(at, sizeof(stored), stored);
    std::ranges::copy(stored, to.begin());
  }
}

void GroupStore::SetScore(int32_t slot, uint16_t score, const PagePool& pool) {
  const Ref& ref = refs_[GroupOf(slot)];
  const int64_t at = ref.offset + LayoutOf(ref).bytes() + kGroupEntries * (long_births_ ? 4 : 2) +
                     IndexOf(slot) * 2;
  uint16_t stored;
  Read(at, sizeof(stored), &stored);
  if (stored == score) return;
  CONCERTINA_CHECK(
      pool.holders(ids_[at / page_bytes_]) == 1 && pool.holders(ids_[(at + 1) / page_bytes_]) == 1,
      "attention was added to an entry that others hold");
  Write(at, sizeof(score), &score);
}

void GroupStore::LoadKey(int32_t slot, float* k) const {
  std::vector<uint8_t> scratch;
  const Ref& ref = refs_[GroupOf(slot)];
  LoadGroupKey(LayoutOf(ref), Codes(ref, &scratch), IndexOf(slot), k);
}

void GroupStore::LoadValue(int32_t slot, float* v) const {
  std::vector<uint8_t> scratch;
  const Ref& ref = refs_[GroupOf(slot)];
  LoadGroupValue(LayoutOf(ref), Codes(ref, &scratch), IndexOf(slot), v);
}

void GroupStore::LoadGroup(int32_t group, std::span<const int32_t> places, float* k,
                           float* v) const {
  const Ref& ref = refs_[group];
  const GroupLayout& layout = LayoutOf(ref);
  const int64_t d = layout.head_dim();
  std::vector<uint8_t> scratch;
  const uint8_t* codes = Codes(ref, &scratch);
  std::vector<float> rows(static_cast<size_t>(kGroupEntries * d));
  const auto scatter = [&](float* to) {
    for (int32_t i = 0; i < kGroupEntries; ++i) {
      if (places[i] >= 0) std::copy_n(rows.data() + i * d, d, to + places[i] * d);
    }
  };
  LoadGroupKeys(layout, codes, kGroupEntries, rows.data());
  scatter(k);
  LoadGroupValues(layout, codes, kGroupEntries, rows.data());
  scatter(v);
}

void GroupStore::LoadFrom(const GroupImage& image, int32_t index, float* k, float* v) const {
  LoadGroupKey((*kinds_)[image.kind], image.codes.data(), index, k);
  LoadGroupValue((*kinds_)[image.kind], image.codes.data(), index, v);
}

int32_t GroupStore::EmptiestOfLastKind() const {
  int32_t emptiest = -1;
  int fewest = kGroupEntries + 1;
  for (int32_t group = high_ < groups() ? high_ : 0; group < groups(); ++group) {
    const int members = std::popcount(refs_[group].present);
    if (refs_[group].origin == GroupOrigin::kFold && members < fewest) {
      emptiest = group;
      fewest = members;
    }
  }
  return emptiest;
}

void GroupStore::SetPresent(int32_t group, uint32_t present) {
  refs_[group].present = present;
  if (live_) present_[group] = present;
}

void GroupStore::CountHoles() {
  std::ranges::fill(holes_, 0);
  for (const Ref& ref : refs_) HolesOf(ref) += kGroupEntries - std::popcount(ref.present);
}

int32_t GroupStore::Hole(GroupOrigin origin) const {
  for (int32_t group = groups() - 1; group >= 0; --group) {
    const Ref& ref = refs_[group];
    if (ref.origin == origin && ~ref.present != 0)
      return SlotOf(group, std::countr_one(ref.present));
  }
  return -1;
}

void GroupStore::Settle() {
  for (Ref& ref : refs_) ref.origin = GroupOrigin::kFold;
  CountHoles();
}

void GroupStore::Put(int32_t slot, const float* k, const float* v, EntryMeta meta) {
  CONCERTINA_CHECK(GroupOf(slot) >= 0 && !Has(slot) && TakesBirth(meta.birth), "no such hole");
  Ref& ref = refs_[GroupOf(slot)];
  const GroupLayout& layout = LayoutOf(ref);
  if (IsWhole(ref)) {
    PutInGroup(layout, IndexOf(slot), k, v, ref.present, Address(ref));
  } else {
    std::vector<uint8_t> codes(static_cast<size_t>(layout.bytes()));
    Read(ref.offset, layout.bytes(), codes.data());
    PutInGroup(layout, IndexOf(slot), k, v, ref.present, codes.data());
    Write(ref.offset, layout.bytes(), codes.data());
    if (live_) std::copy(codes.begin(), codes.end(), copies_[GroupOf(slot)].begin());
  }
  const int64_t births = ref.offset + layout.bytes();
  const int64_t width = long_births_ ? 4 : 2;
  Write(births + IndexOf(slot) * width, width, &meta.birth);
  Write(births + kGroupEntries * width + IndexOf(slot) * int64_t{2}, 2, &meta.score);
  SetPresent(GroupOf(slot), ref.present | 1U << IndexOf(slot));
  --HolesOf(ref);
  ++entries_;
}

void GroupStore::Remove(int32_t slot) {
  CONCERTINA_CHECK(Has(slot), "no entry in this slot");
  Ref& ref = refs_[GroupOf(slot)];
  SetPresent(GroupOf(slot), ref.present & ~(1U << IndexOf(slot)));
  ++HolesOf(ref);
  --entries_;
}

GroupImage GroupStore::Image(int32_t group) const {
  const Ref& ref = refs_[group];
  const int64_t bytes = LayoutOf(ref).bytes();
  GroupImage image{.kind = ref.kind,
                   .origin = ref.origin,
                   .present = ref.present,
                   .codes = {},
                   .births = {},
                   .scores = {}};
  image.codes.resize(static_cast<size_t>(bytes));
  Read(ref.offset, bytes, image.codes.data());
  const int64_t width = long_births_ ? 4 : 2;
  for (int32_t i = 0; i < kGroupEntries; ++i) {
    Read(ref.offset + bytes + i * width, width, &image.births[i]);
  }
  Read(ref.offset + bytes + kGroupEntries * width, sizeof(image.scores), image.scores.data());
  return image;
}

std::vector<GroupImage> GroupStore::Images() const {
  std::vector<GroupImage> images;
  for (int32_t group = 0; group < groups(); ++group) images.push_back(Image(group));
  return images;
}

int64_t GroupStore::PagesMissingFor(int kind) const {
  const int64_t bytes = End() + RecordBytes((*kinds_)[kind], long_births_);
  return (bytes + page_bytes_ - 1) / page_bytes_ - pages();
}

int64_t GroupStore::End() const {
  if (refs_.empty()) return 0;
  return refs_.back().offset + RecordBytes(LayoutOf(refs_.back()), long_births_);
}

void GroupStore::AddPages(std::span<const PageId> pages, const PagePool& pool) {
  for (const PageId page : pages) {
    ids_.push_back(page);
    bases_.push_back(const_cast<uint8_t*>(pool.Data(page)));
  }
}

void GroupStore::Store(std::span<const GroupImage> images, bool long_births,
                       std::span<const PageId> pages, const PagePool& pool) {
  CONCERTINA_CHECK(refs_.empty() && ids_.empty(), "groups are stored over others");
  long_births_ = long_births;
  AddPages(pages, pool);
  for (const GroupImage& image : images) {
    refs_.push_back({.offset = End(), .kind = image.kind, .present = image.present});
    CONCERTINA_CHECK(End() <= this->pages() * page_bytes_, "pages are lacking for groups");
    WriteImage(refs_.back(), image);
    high_ += image.kind == images.front().kind && image.kind != images.back().kind ? 1 : 0;
    entries_ += image.members();
    payload_bytes_ += static_cast<int64_t>(image.codes.size());
  }
  CountHoles();
  Refresh();
}

void GroupStore::Append(const GroupImage& image, std::span<const PageId> pages,
                        const PagePool& pool) {
  CONCERTINA_CHECK(refs_.empty() || image.kind == refs_.back().kind, "a group of another kind");
  AddPages(pages, pool);
  refs_.push_back({.offset = End(),
                   .kind = image.kind,
                   .present = image.present,
                   .origin = GroupOrigin::kDecode});
  CONCERTINA_CHECK(End() <= this->pages() * page_bytes_, "pages are lacking for a group");
  WriteImage(refs_.back(), image);
  entries_ += image.members();
  payload_bytes_ += static_cast<int64_t>(image.codes.size());
  CountHoles();
  Refresh(groups() - 1);
}

void GroupStore::RemoveLast(PageAccount* account) {
  const Ref ref = refs_.back();
  refs_.pop_back();
  high_ = std::min(high_, groups());
  entries_ -= std::popcount(ref.present);
  payload_bytes_ -= LayoutOf(ref).bytes();
  const auto needed = static_cast<size_t>((End() + page_bytes_ - 1) / page_bytes_);
  account->Give(std::span<const PageId>(ids_).subspan(needed));
  ids_.resize(needed);
  bases_.resize(needed);
  CountHoles();
  Refresh(groups());
}

void GroupStore::Replace(int32_t group, const GroupImage& image) {
  Ref& ref = refs_[group];
  CONCERTINA_CHECK(ref.kind == image.kind, "a group is replaced by one of another kind");
  entries_ += image.members() - std::popcount(ref.present);
  ref.present = image.present;
  ref.origin = image.origin;
  WriteImage(ref, image);
  CountHoles();
  Refresh(group);
}

void GroupStore::WriteImage(const Ref& ref, const GroupImage& image) {
  const auto bytes = static_cast<int64_t>(image.codes.size());
  Write(ref.offset, bytes, image.codes.data());
  const int64_t width = long_births_ ? 4 : 2;
  for (int32_t i = 0; i < kGroupEntries; ++i) {
    const bool there = (image.present >> i & 1U) != 0;
    CONCERTINA_CHECK(!there || TakesBirth(image.births[i]), "a birth does not fit");
    Write(ref.offset + bytes + i * width, width, &image.births[i]);
  }
  Write(ref.offset + bytes + kGroupEntries * width, sizeof(image.scores), image.scores.data());
}

void GroupStore::ReleaseAll(PageAccount* account) {
  account->Give(ids_);
  ids_.clear();
  bases_.clear();
  refs_.clear();
  CountHoles();
  high_ = entries_ = 0;
  payload_bytes_ = 0;
  EndLive();
}

void GroupStore::ShareGroupsOf(const GroupStore& other) {
  CONCERTINA_CHECK(refs_.empty() && !other.live_, "groups are shared while in use");
  refs_ = other.refs_;
  std::ranges::copy(other.holes_, holes_);
  high_ = other.high_;
  entries_ = other.entries_;
  payload_bytes_ = other.payload_bytes_;
  long_births_ = other.long_births_;
  ids_ = other.ids_;
  bases_ = other.bases_;
}

int64_t GroupStore::PagesToCopy(const PageAccount& account) const {
  return std::count_if(ids_.begin(), ids_.end(),
                       [&](PageId page) { return account.pool()->holders(page) > 1; });
}

void GroupStore::MakeWritable(PageAccount* account, std::vector<PageId>* fresh) {
  bool moved = false;
  for (size_t i = 0; i < ids_.size(); ++i) {
    if (account->MakeWritable(ids_[i])) continue;
    CONCERTINA_CHECK(!fresh->empty(), "a page is lacking for a private copy");
    const PageId copy = fresh->back();
    fresh->pop_back();
    uint8_t* address = account->pool()->Data(copy);
    std::memcpy(address, bases_[i], static_cast<size_t>(page_bytes_));
    account->Give({&ids_[i], 1});
    ids_[i] = copy;
    bases_[i] = address;
    moved = true;
  }
  if (moved) Refresh();
}

bool GroupStore::IsWhole(const Ref& ref) const {
  const int64_t first = ref.offset / page_bytes_;
  const int64_t last = (ref.offset + LayoutOf(ref).bytes() - 1) / page_bytes_;
  for (int64_t page = first; page < last; ++page) {
    if (bases_[page] + page_bytes_ != bases_[page + 1]) return false;
  }
  return true;
}

const uint8_t* GroupStore::Codes(const Ref& ref, std::vector<uint8_t>* scratch) const {
  if (IsWhole(ref)) return Address(ref);
  scratch->resize(static_cast<size_t>(LayoutOf(ref).bytes()));
  Read(ref.offset, LayoutOf(ref).bytes(), scratch->data());
  return scratch->data();
}

void GroupStore::Read(int64_t offset, int64_t bytes, void* out) const {
  auto* to = static_cast<uint8_t*>(out);
  while (bytes > 0) {
    const int64_t in_page = offset % page_bytes_;
    const int64_t n = std::min(bytes, page_bytes_ - in_page);
    std::memcpy(to, bases_[offset / page_bytes_] + in_page, static_cast<size_t>(n));
    to += n;
    offset += n;
    bytes -= n;
  }
}

void GroupStore::Write(int64_t offset, int64_t bytes, const void* from) {
  const auto* source = static_cast<const uint8_t*>(from);
  while (bytes > 0) {
    const int64_t in_page = offset % page_bytes_;
    const int64_t n = std::min(bytes, page_bytes_ - in_page);
    std::memcpy(bases_[offset / page_bytes_] + in_page, source, static_cast<size_t>(n));
    source += n;
    offset += n;
    bytes -= n;
  }
}

GroupStore::Packed GroupStore::packed(int tier) const {
  const int32_t first = tier == 0 ? 0 : high_;
  const int32_t end = tier == 0 ? high_ : groups();
  if (first == end) return {};
  CONCERTINA_CHECK(live_, "groups are read outside of decode");
  return {.layout = &LayoutOf(refs_[first]),
          .groups = addresses_.data() + first,
          .present = present_.data() + first,
          .count = end - first};
}

void GroupStore::BeginLive() {
  live_ = true;
  Refresh();
}

void GroupStore::EndLive() {
  live_ = false;
  std::vector<const uint8_t*>().swap(addresses_);
  std::vector<std::vector<uint8_t>>().swap(copies_);
  std::vector<uint32_t>().swap(present_);
}

void GroupStore::Refresh(int32_t first) {
  if (!live_) return;
  addresses_.resize(refs_.size());
  present_.resize(refs_.size());
  copies_.resize(refs_.size());
  for (auto i = static_cast<size_t>(first); i < refs_.size(); ++i) {
    addresses_[i] = Codes(refs_[i], &copies_[i]);
    present_[i] = refs_[i].present;
  }
}

}  // namespace concertina
