#include <algorithm>

#include "models/tensor/device_cache.h"
#include "models/tensor/tensor_options.h"

// Decode: the cache takes a seat, every step appends and evicts there, and it leaves with what it
// keeps beside its pages.

namespace concertina {
namespace {

// Copies what is kept beside the pages of `entries` entries from a row of one layer to another.
void CopyBeside(const PagedLayer& from, int64_t from_row, int64_t entries, PagedLayer* to,
                int64_t to_row) {
  const auto copy = [&](const at::Tensor& source, at::Tensor target) {
    target.narrow(0, to_row, 1)
        .narrow(2, 0, entries)
        .copy_(source.narrow(0, from_row, 1).narrow(2, 0, entries));
  };
  copy(from.order, to->order);
  copy(from.scores, to->scores);
  copy(from.birth, to->birth);
  copy(from.mass, to->mass);
}

}  // namespace

void DeviceCache::SitDown(int64_t seat) {
  prefill_tokens_ = 0;  // a prefill that was given up before its first fold
  for (int64_t index = 0; index < static_cast<int64_t>(layers_.size()); ++index) {
    Layer& layer = layers_[index];
    memory_->Grow(index, layer.entries);
    if (memory_->keeps_scores()) {
      CopyBeside(layer.resting, 0, layer.entries, &memory_->layer(index), seat);
    }
  }
  for (Layer& layer : layers_) layer.resting = {};
  seat_ = seat;
  memory_->Take(seat, this);
}

void DeviceCache::LeaveSeat() {
  if (seat_ >= 0) memory_->Leave(seat_);
  seat_ = -1;
}

void DeviceCache::StandUp() {
  for (int64_t index = 0; index < static_cast<int64_t>(layers_.size()); ++index) {
    Layer& layer = layers_[index];
    GivePages(index, layer.entries);
    FitResting(&layer);
    if (!memory_->keeps_scores()) continue;
    CopyBeside(memory_->layer(index), seat_, layer.entries, &layer.resting, 0);
    layer.resting.scores = AsStored(layer.resting.scores);
  }
}

void DeviceCache::EndDecode() {
  if (seat_ < 0) return;
  const absl::Status status = Guarded([&] {
    if (intact_) StandUp();
    return absl::OkStatus();
  });
  if (!status.ok()) Break();
  LeaveSeat();
}

int64_t DeviceCache::PlanShares() {
  ResolveShares(seen_ + 1, 1);
  int32_t most = 0;
  for (const Layer& layer : layers_) most = std::max(most, layer.entries + 1 - layer.share);
  return most;
}

int32_t DeviceCache::planned_surplus(int64_t layer) const {
  return std::max(0, layers_[layer].entries + 1 - layers_[layer].share);
}

absl::Status DeviceCache::Plan(StepPlan* plan) {
  plan->position(seat_) = static_cast<int32_t>(seen_);
  for (int64_t index = 0; index < static_cast<int64_t>(layers_.size()); ++index) {
    const int32_t entries = layers_[index].entries + 1;
    memory_->Grow(index, entries);
    if (absl::Status status = TakePages(index, entries); !status.ok()) return status;
    plan->slot(index, seat_) = entries - 1;
    plan->length(index, seat_) = entries;
    PlanEvictions(index, plan);
  }
  return absl::OkStatus();
}

void DeviceCache::PlanEvictions(int64_t index, StepPlan* plan) const {
  const Layer& layer = layers_[index];
  int32_t entries = layer.entries + 1;
  for (int64_t round = 0; entries > layer.share; ++round, --entries) {
    const IndexRange range = policy_.VictimRange(entries, layer.share, layer.entries_at_fold);
    plan->begin(index, round, seat_) = range.begin;
    plan->end(index, round, seat_) = range.end;
  }
}

int64_t DeviceCache::CommitToken() {
  ++seen_;
  int64_t evicted = 0;
  for (int64_t index = 0; index < static_cast<int64_t>(layers_.size()); ++index) {
    Layer& layer = layers_[index];
    evicted += planned_surplus(index);
    layer.entries = std::min(layer.entries + 1, layer.share);
    GivePages(index, layer.entries + 1);  // the next step appends before it evicts
  }
  return evicted * memory_->kv_heads();
}

}  // namespace concertina
