#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "cache/turn_rules.h"

// Which entries of a head stay, and which may go, where pins or turns have a say. Pure functions;
// a policy gives the order of the entries, these the rest. Indices are in birth order.

namespace concertina {

// Births of a head's entries, ascending. Asked for a few of them only.
using BirthOf = std::function<int64_t(int32_t index)>;

// A head's entries, sorted out.
struct HeadTurns {
  std::vector<int32_t> fixed;  // stay in any case, ascending: the first, the newest, the pinned
  // The others by turn, ascending; only groups that have any. One with kRefold; at most two with
  // kIsolate, the earlier turns and the present one.
  std::vector<std::vector<int32_t>> groups;
  // For each group, tokens of its turn, kept or not.
  std::vector<double> tokens;
  bool present = false;  // kIsolate: the last group is the present turn
};

// `seen`: tokens up to now, those of the present prompt included. REQUIRES: entries >= 1.
HeadTurns SortOut(const BirthOf& birth, int32_t entries, int64_t seen, const TurnRules& rules);

// How many entries of every group stay when `rest` do. kFair: in proportion to the turns' tokens,
// no more than a turn has, the remainder one each from the newest turn back. kIsolate: the present
// turn has what the earlier ones leave, but at least half of what would be its fair part.
// REQUIRES: rest no more than the groups have.
std::vector<int32_t> Quotas(const HeadTurns& head, int64_t rest, int64_t seen, TurnFold fold);

// Ascending indices of the `keep` entries that stay. `order`: of every entry, the lower the sooner
// it stays (OrderKeys). REQUIRES: keep at least the fixed ones.
std::vector<int32_t> SelectByTurns(std::span<const uint64_t> order, const BirthOf& birth,
                                   int32_t keep, int64_t seen, const TurnRules& rules);

// Of `entries`, of which `cap` may stay, those of which one is to go: the group that has the most
// above its quota, the oldest of several. Never empty. REQUIRES: entries > cap >= rules.floor().
std::vector<int32_t> VictimsByTurns(const BirthOf& birth, int32_t entries, int32_t cap,
                                    const TurnRules& rules);

}  // namespace concertina
