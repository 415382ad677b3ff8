#include "cache/position_map.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "cache/check.h"

namespace concertina {
namespace {

// Index in `old` (ascending positions) where the part begins that only shifts: the newer half of
// the entries, but at most `reach` positions back from `end`. At least the newest entry is in it,
// and never the first.
size_t RecentBegin(std::span<const int64_t> old, int64_t end, int64_t reach) {
  const size_t half = std::max<size_t>(1, (old.size() + 1) / 2);
  const auto in_reach = std::lower_bound(old.begin(), old.end(), end - reach);
  const auto begin = std::max(half, static_cast<size_t>(in_reach - old.begin()));
  return std::min(begin, old.size() - 1);
}

// New positions of old[1..recent): the ranks of their distinct values, 1.., scaled into `room`
// positions.
std::vector<int64_t> CloseGaps(std::span<const int64_t> old, size_t recent, int64_t room,
                               int64_t* taken) {
  int64_t ranks = 0;
  std::vector<int64_t> placed(recent, 0);
  for (size_t i = 1; i < recent; ++i) {
    ranks += i == 1 || old[i] != old[i - 1] ? 1 : 0;
    placed[i] = ranks;
  }
  *taken = std::min(ranks, room);
  for (size_t i = 1; ranks > room && i < recent; ++i) {
    placed[i] = room == 0 ? 0 : 1 + (placed[i] - 1) * room / ranks;
  }
  return placed;
}

}  // namespace

int64_t PositionMap::Of(int64_t birth) const {
  if (birth >= tail_birth_) {
    return birth + tail_shift_;
  }
  const auto at = std::lower_bound(
      table_.begin(), table_.end(), birth,
      [](const std::pair<uint32_t, int32_t>& row, int64_t wanted) { return row.first < wanted; });
  CONCERTINA_CHECK(at != table_.end() && at->first == birth, "position of an entry long gone");
  return at->second;
}

absl::StatusOr<PositionMap> PositionMap::Rebase(std::span<const uint32_t> births, int64_t seen,
                                                int64_t more_tokens, int64_t max_positions) const {
  // Past the first entry at 0, the recent part needs a position and the older ones at least one to
  // share.
  const auto needed = static_cast<int64_t>(std::min<size_t>(births.size(), 3));
  const int64_t next_max =
      std::min(std::max(max_positions / 2, needed), max_positions - more_tokens);
  if (next_max < needed || births.empty()) {
    return absl::FailedPreconditionError(absl::StrCat("CONTEXT_EXHAUSTED ", more_tokens,
                                                      " more tokens do not fit into ",
                                                      max_positions, " positions"));
  }
  std::vector<int64_t> old(births.size());
  for (size_t i = 0; i < births.size(); ++i) {
    old[i] = Of(births[i]);
  }
  const int64_t old_next = Of(seen);
  PositionMap map;
  if (births.size() == 1) {
    map.table_.emplace_back(births[0], 0);
    map.tail_birth_ = seen;
    map.tail_shift_ = 1 - seen;
    return map;
  }
  const size_t recent = RecentBegin(old, old_next, std::max<int64_t>(1, next_max / 2));
  const int64_t recent_span = old_next - old[recent];
  int64_t taken = 0;
  const std::vector<int64_t> placed = CloseGaps(old, recent, next_max - 1 - recent_span, &taken);
  const int64_t shift = 1 + taken - old[recent];
  for (size_t i = 0; i < births.size(); ++i) {
    const bool in_old_tail = births[i] >= tail_birth_;
    if (i >= recent && in_old_tail) {
      break;
    }
    map.table_.emplace_back(births[i],
                            static_cast<int32_t>(i < recent ? placed[i] : old[i] + shift));
  }
  map.tail_birth_ = std::max<int64_t>(tail_birth_, births[recent]);
  map.tail_shift_ = tail_shift_ + shift;
  return map;
}

}  // namespace concertina
