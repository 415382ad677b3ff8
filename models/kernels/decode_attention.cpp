#include "models/kernels/decode_attention.h"

#include <algorithm>
#include <atomic>

#include "models/kernels/isa.h"
#include "models/kernels/packed_groups.h"
#include "models/kernels/packed_layout.h"
#include "models/kernels/parallel.h"

// An item is computed in chunks of kChunk entries, or of kChunkGroups groups, that are combined
// when the last of them is there, in ascending order: the result is the same however the chunks
// were spread over the threads. The chunks of all items form one row that is cut into ranges; a
// thread goes through a range from left to right and so knows which pages come next. An item that
// two ranges share keeps its intermediate results in memory of its own; all others use their
// thread's.

namespace concertina {
namespace {

constexpr int64_t kChunk = 64;  // entries: keys or values of a chunk take a quarter of the L1 cache
constexpr int64_t kRangeChunksMin = 16;  // of a range when there is more than one per thread
constexpr int64_t kRangesPerThreadMax = 32;

// What is made once for a chunk of groups is much beside the work on a few of them.
constexpr int64_t kChunkGroups = kWeighedGroupsMax;

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

int64_t ChunksOf(const PackedHead& packed) {
  return (packed.count + kChunkGroups - 1) / kChunkGroups;
}

int64_t ChunksOf(const DecodeItem& item) {
  int64_t chunks = (item.head.entries + kChunk - 1) / kChunk;
  for (const PackedHead& packed : item.packed) chunks += ChunksOf(packed);
  return chunks;
}

// What combining an item's chunks and evicting from it take, in chunks.
int64_t FinishChunks(const DecodeItem& item) {
  return item.packed[0].count + item.packed[1].count > 0 ? 3 : 1;
}

int64_t SlotsOf(const PackedHead& packed) { return RoundUp(packed.count * kGroupEntries, kChunk); }

// A chunk of an item: among those of a kind of groups, or of its pages, which begin at a slot.
struct Part {
  const PackedHead* packed;  // null: pages
  int64_t chunk;
  int64_t first_slot;
};

Part PartOf(const DecodeItem& item, int64_t chunk) {
  int64_t slot = 0;
  for (const PackedHead& packed : item.packed) {
    const int64_t chunks = ChunksOf(packed);
    if (chunk < chunks) return {&packed, chunk, slot};
    chunk -= chunks;
    slot += SlotsOf(packed);
  }
  return {nullptr, chunk, slot};
}

// Rows first, then their scales.
isa::KvBlock BlockAt(int64_t offset, const PageLayout& layout, int64_t entries_per_page) {
  const bool scaled = layout.type == KvType::kInt8;
  const int64_t element = layout.type == KvType::kF32 ? 4 : scaled ? 1 : 2;
  const int64_t rows = entries_per_page * layout.head_dim * element;
  return {offset, offset + rows, rows + (scaled ? 2 * entries_per_page : 0)};
}

// Where an item's intermediate results lie, in floats after the start of its record.
struct Record {
  Record(const DecodeItem& item, int64_t head_dim)
      : Record(DecodeSlots(item), ChunksOf(item), item.group, head_dim) {}
  Record(int64_t slots, int64_t chunks, int64_t group, int64_t head_dim)
      : score_row(RoundUp(slots, kChunk)),
        stat_row(RoundUp(chunks, 16)),
        values(group * score_row),
        highest(values + RoundUp(chunks * group * head_dim, 16)),
        sums(highest + group * stat_row),
        floats(sums + group * stat_row) {}

  int64_t score_row, stat_row;
  int64_t values, highest, sums, floats;  // scores come first
};

class DecodeRun {
 public:
  DecodeRun(std::span<const DecodeItem> items, const PageLayout& layout, float scale,
            Workspace& workspace, absl::FunctionRef<void(int64_t)> finished);

  void Range(int worker, int64_t range);
  int64_t ranges() const { return ranges_; }

 private:
  struct Place {
    int64_t item;
    int64_t chunk;
  };

  void CutRanges();
  int64_t RangeBegin(int64_t range) const { return range_begin_[range]; }
  int64_t RangeOf(int64_t chunk) const {
    return std::upper_bound(range_begin_, range_begin_ + ranges_, chunk) - range_begin_ - 1;
  }
  Place PlaceOf(int64_t chunk) const;
  isa::DecodePages PagesOf(Place place) const;
  isa::DecodeChunk ChunkAt(Place place, float* record) const;
  void Combine(int64_t item, float* record) const;
  int64_t SharedBy(int64_t item) const;

  std::span<const DecodeItem> items_;
  const PageLayout& layout_;
  const isa::Kernels& kernels_;
  float scale_;
  absl::FunctionRef<void(int64_t)> finished_;
  int64_t chunks_ = 0;
  int64_t ranges_ = 0;
  int64_t record_floats_ = 0;
  int64_t* first_chunk_;              // [items + 1], among the chunks of all items
  int64_t* range_begin_;              // [ranges + 1], likewise
  float* own_records_;                // [threads]
  float* shared_records_;             // [ranges]; see SharedBy
  std::atomic<int64_t>* unfinished_;  // [ranges], likewise: chunks not yet computed
};

template <typename T>
T* Array(Workspace& workspace, size_t slot, int64_t count) {
  static_assert(sizeof(T) % sizeof(float) == 0);
  return reinterpret_cast<T*>(
      workspace.Floats(slot, count * static_cast<int64_t>(sizeof(T) / sizeof(float))));
}

DecodeRun::DecodeRun(std::span<const DecodeItem> items, const PageLayout& layout, float scale,
                     Workspace& workspace, absl::FunctionRef<void(int64_t)> finished)
    : items_(items), layout_(layout), kernels_(isa::Active()), scale_(scale), finished_(finished) {
  first_chunk_ = Array<int64_t>(workspace, 0, static_cast<int64_t>(items.size()) + 1);
  for (size_t i = 0; i < items.size(); ++i) {
    first_chunk_[i] = chunks_;
    chunks_ += ChunksOf(items[i]);
    record_floats_ = std::max(record_floats_, Record(items[i], layout.head_dim).floats);
  }
  first_chunk_[items.size()] = chunks_;
  const int64_t threads = Threads();
  ranges_ =
      threads * std::clamp<int64_t>(chunks_ / (threads * kRangeChunksMin), 1, kRangesPerThreadMax);
  ranges_ = std::min(ranges_, chunks_);
  range_begin_ = Array<int64_t>(workspace, 4, ranges_ + 1);
  CutRanges();
  own_records_ = workspace.Floats(1, threads * record_floats_);
  shared_records_ = workspace.Floats(2, ranges_ * record_floats_);
  unfinished_ = Array<std::atomic<int64_t>>(workspace, 3, ranges_);
  for (int64_t range = 1; range < ranges_; ++range) {
    new (&unfinished_[range])
        std::atomic<int64_t>(ChunksOf(items[PlaceOf(RangeBegin(range)).item]));
  }
}

// Ranges of as much work each, none of them empty.
void DecodeRun::CutRanges() {
  int64_t all = chunks_;
  for (const DecodeItem& item : items_) all += FinishChunks(item);
  size_t item = 0;
  int64_t finished = 0;  // of the items before it
  for (int64_t range = 0; range < ranges_; ++range) {
    const int64_t work = all * range / ranges_;
    while (first_chunk_[item + 1] + finished + FinishChunks(items_[item]) <= work) {
      finished += FinishChunks(items_[item++]);
    }
    const int64_t chunk = std::min(work - finished, first_chunk_[item + 1]);
    const int64_t least = range == 0 ? 0 : range_begin_[range - 1] + 1;
    range_begin_[range] = std::clamp(chunk, least, chunks_ - (ranges_ - range));
  }
  range_begin_[ranges_] = chunks_;
}

DecodeRun::Place DecodeRun::PlaceOf(int64_t chunk) const {
  const int64_t* next = std::upper_bound(first_chunk_, first_chunk_ + items_.size() + 1, chunk);
  const int64_t item = next - first_chunk_ - 1;
  return {item, chunk - first_chunk_[item]};
}

isa::DecodePages DecodeRun::PagesOf(Place place) const {
  const DecodeItem& item = items_[static_cast<size_t>(place.item)];
  const Part part = PartOf(item, place.chunk);
  if (part.packed != nullptr) {
    const int64_t first = part.chunk * kChunkGroups;
    const int64_t end = std::min(part.packed->count, first + kChunkGroups);
    return {part.packed->groups + first, part.packed->groups + end, 0,
            part.packed->layout->bytes()};
  }
  const PagedHead& head = item.head;
  const int64_t first = part.chunk * kChunk;
  const int64_t last = std::min(head.entries, first + kChunk) - 1;
  const isa::KvBlock v = BlockAt(layout_.v_offset, layout_, head.entries_per_page);
  return {head.pages + first / head.entries_per_page, head.pages + last / head.entries_per_page + 1,
          layout_.k_offset, v.offset + v.bytes};
}

// The second of the ranges that share an item, whose record it gets; 0 for an item in one range.
int64_t DecodeRun::SharedBy(int64_t item) const {
  const int64_t second = RangeOf(first_chunk_[item]) + 1;
  return second < ranges_ && RangeBegin(second) < first_chunk_[item + 1] ? second : 0;
}

isa::DecodeChunk DecodeRun::ChunkAt(Place place, float* floats) const {
  const DecodeItem& item = items_[static_cast<size_t>(place.item)];
  const int64_t d = layout_.head_dim;
  const Part part = PartOf(item, place.chunk);
  const int64_t first = part.chunk * kChunk;  // among the entries of its part
  const int64_t slot =
      part.first_slot +
      part.chunk * (part.packed != nullptr ? kChunkGroups * kGroupEntries : kChunk);
  const Record record(item, d);
  isa::DecodeChunk chunk{.pages = PagesOf(place),
                         .next = {},
                         .first_slot = first % item.head.entries_per_page,
                         .count = std::min(item.head.entries - first, kChunk),
                         .entries_per_page = item.head.entries_per_page,
                         .head_dim = d,
                         .type = layout_.type,
                         .k = BlockAt(layout_.k_offset, layout_, item.head.entries_per_page),
                         .v = BlockAt(layout_.v_offset, layout_, item.head.entries_per_page),
                         .q = item.q,
                         .group = item.group,
                         .scale = scale_,
                         .bias = item.bias == nullptr ? nullptr : item.bias + slot,
                         .scores = floats + slot,
                         .score_row = record.score_row,
                         .values = floats + record.values + place.chunk * item.group * d,
                         .highest = floats + record.highest + place.chunk,
                         .sums = floats + record.sums + place.chunk,
                         .stat_row = record.stat_row,
                         .present = nullptr,
                         .packed = {}};
  if (part.packed != nullptr) {
    chunk.count = (chunk.pages.end - chunk.pages.first) * kGroupEntries;
    chunk.present = part.packed->present + part.chunk * kChunkGroups;
    chunk.packed = PackedLayoutOf(*part.packed->layout);
  }
  return chunk;
}

void DecodeRun::Combine(int64_t index, float* floats) const {
  const DecodeItem& item = items_[static_cast<size_t>(index)];
  const Record record(item, layout_.head_dim);
  isa::SlotRun runs[3];
  int64_t slot = 0;
  for (int kind = 0; kind < 2; ++kind) {
    const int64_t entries = item.packed[kind].count * kGroupEntries;
    runs[kind] = {slot, entries, kChunkGroups * kGroupEntries};
    slot += SlotsOf(item.packed[kind]);
  }
  runs[2] = {slot, item.head.entries, kChunk};
  kernels_.combine_chunks({.runs = runs,
                           .runs_count = 3,
                           .chunks = ChunksOf(item),
                           .head_dim = layout_.head_dim,
                           .group = item.group,
                           .scores = floats,
                           .score_row = record.score_row,
                           .values = floats + record.values,
                           .highest = floats + record.highest,
                           .sums = floats + record.sums,
                           .stat_row = record.stat_row,
                           .out = item.out,
                           .score_sums = item.score_sums});
}

void DecodeRun::Range(int worker, int64_t range) {
  const int64_t end = RangeBegin(range + 1);
  int64_t chunk = RangeBegin(range);
  Place place = PlaceOf(chunk);
  kernels_.fetch_chunk(ChunkAt(place, own_records_));
  while (chunk < end) {
    const int64_t shared = SharedBy(place.item);
    float* record = shared > 0 ? shared_records_ + shared * record_floats_
                               : own_records_ + worker * record_floats_;
    const int64_t item_end = std::min(end, first_chunk_[place.item + 1]);
    const int64_t computed = item_end - chunk;
    for (; chunk < item_end; ++chunk, ++place.chunk) {
      isa::DecodeChunk task = ChunkAt(place, record);
      if (chunk + 1 < item_end) {
        task.next = PagesOf({place.item, place.chunk + 1});
      } else if (chunk + 1 < end) {
        task.next = PagesOf({place.item + 1, 0});
      }
      kernels_.decode_chunk(task);
    }
    if (shared == 0 ||
        unfinished_[shared].fetch_sub(computed, std::memory_order_acq_rel) == computed) {
      Combine(place.item, record);
      finished_(place.item);
    }
    place = {place.item + 1, 0};
  }
}

}  // namespace

void DecodeAttention(std::span<const DecodeItem> items, const PageLayout& layout, float scale,
                     Workspace& workspace, absl::FunctionRef<void(int64_t item)> finished) {
  if (items.empty()) return;
  DecodeRun run(items, layout, scale, workspace, finished);
  ParallelTasks(run.ranges(), [&](int worker, int64_t range) { run.Range(worker, range); });
}

int64_t DecodeSlots(const DecodeItem& item) {
  int64_t slots = item.head.entries;
  for (const PackedHead& packed : item.packed) slots += SlotsOf(packed);
  return slots;
}

int64_t DecodeScratchBytes(int64_t items, int64_t slots, int64_t group, int64_t head_dim) {
  const Record record(slots, (slots + kChunk - 1) / kChunk, group, head_dim);
  const int64_t ranges = kRangesPerThreadMax * Threads();
  // Every thread has a record, and every item that two ranges share.
  const int64_t records = Threads() + std::min(items, ranges);
  return records * record.floats * static_cast<int64_t>(sizeof(float)) +
         (items + 1 + 2 * ranges + 1) * static_cast<int64_t>(sizeof(int64_t));
}

}  // namespace concertina
