#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace concertina {

// Birth -> RoPE position, one map for all layers and heads of a session. Identity until the
// conversation outgrows the trained context; then a rebase makes room:
//   - the first live entry goes to 0;
//   - the most recent part (the newer half of the live births, at most half of the new range)
//   shifts by one
//     constant, so distances within it stay as they were;
//   - positions in between close their gaps: consecutive ranks, scaled down when there are more of
//   them
//     than room, so that several births may share a position. Order is never reversed.
// Immutable; a rebase makes a new map. Births that are no longer live have no meaningful position.
class PositionMap {
 public:
  // A map for a session that has seen `seen` tokens whose live births are `births` (ascending,
  // distinct), such that Next(seen) <= max_positions / 2 where possible and always Next(seen) +
  // more_tokens <= max_positions. FAILED_PRECONDITION when no such map exists.
  absl::StatusOr<PositionMap> Rebase(std::span<const uint32_t> births, int64_t seen,
                                     int64_t more_tokens, int64_t max_positions) const;

  // Position of a live birth or of a token still to come (birth >= seen).
  int64_t Of(int64_t birth) const;

  bool identity() const { return table_.empty() && tail_shift_ == 0; }

 private:
  std::vector<std::pair<uint32_t, int32_t>> table_;  // live births below tail_birth_, ascending
  int64_t tail_birth_ = 0;                           // from here on position = birth + tail_shift_
  int64_t tail_shift_ = 0;
};

}  // namespace concertina
