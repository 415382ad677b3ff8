#include <algorithm>

#include "absl/strings/str_cat.h"
#include "cache/session_cache.h"

// Past the trained context: new positions for what is kept.

namespace concertina {

std::vector<uint32_t> SessionCache::LiveBirths() const {
  std::vector<uint32_t> births;
  births.reserve(static_cast<size_t>(live_entries()));
  for (const HeadCache& head : heads_) {
    for (const int32_t slot : head.SlotsInBirthOrder()) {
      births.push_back(head.Meta(slot).birth);
    }
  }
  std::sort(births.begin(), births.end());
  births.erase(std::unique(births.begin(), births.end()), births.end());
  return births;
}

absl::Status SessionCache::RotateKeys(const PositionMap& next, const RotateFn& rotate) {
  if (absl::Status own = MakeAllWritable(); !own.ok()) {
    return own;
  }
  std::vector<float> key(static_cast<size_t>(shape_.head_dim));
  const auto by = [&](uint32_t birth) { return next.Of(birth) - positions_.Of(birth); };
  for (HeadCache& head : heads_) {
    if (packs()) {
      head.RotateGroups(packing_->kinds(), by, rotate);
    }
    for (int32_t row = 0; row < head.rows(); ++row) {
      const int32_t slot = head.first_row() + row;
      const int64_t delta = by(head.Meta(slot).birth);
      if (delta != 0) {
        head.LoadKey(slot, key.data());
        rotate(key.data(), delta);
        head.StoreKey(slot, key.data());
      }
    }
  }
  return absl::OkStatus();
}

absl::Status SessionCache::RebaseFor(int64_t more_tokens, int64_t max_positions,
                                     const RotateFn& rotate) {
  if (FitsContext(more_tokens, max_positions)) {
    return absl::OkStatus();
  }
  if (on_context_end_ == OnContextEnd::kRefuse || policy_->positions_by_length()) {
    return absl::FailedPreconditionError(
        absl::StrCat("CONTEXT_EXHAUSTED ", next_position(), " positions of ", max_positions,
                     " are taken, ", more_tokens, " more do not fit"));
  }
  if (!intact_ || step_open_) {
    return absl::FailedPreconditionError("positions cannot change inside a prefill or a step");
  }
  prefill_tokens_ = 0;  // one that was given up before its first fold; its positions are void now
  absl::StatusOr<PositionMap> next =
      positions_.Rebase(LiveBirths(), seen_, more_tokens, max_positions);
  if (!next.ok()) {
    return next.status();
  }
  if (absl::Status rotated = RotateKeys(*next, rotate); !rotated.ok()) {
    return rotated;
  }
  positions_ = *std::move(next);
  return absl::OkStatus();
}

}  // namespace concertina
