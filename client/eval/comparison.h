#pragma once

#include <string>
#include <vector>

#include "client/eval/summary.h"

namespace concertina::eval {

// The same record with a setting and with the full cache.
struct CellPair {
  const Cell* cell = nullptr;
  const Cell* full = nullptr;  // null: the record is too long for it (measure "alone")
};

// The groups of every item of a cell: of its one score, of each probe, of each answer.
std::vector<std::vector<std::string>> ItemGroups(const Cell& cell);

// Whether a group is a part of the conversations ("later turns"), not a task or kind of the data.
bool IsPart(const std::string& group);

// Sets records, share and metrics of `row` from those items of the pairs that are in `group`
// (empty: all). The pairs' cells are of one measure. `reference`: the cells are the full cache's
// own.
void Compare(const std::vector<CellPair>& pairs, const std::string& group, bool reference,
             uint64_t seed, Row& row);

}  // namespace concertina::eval
