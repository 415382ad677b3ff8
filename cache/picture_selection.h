#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cache/turn_rules.h"
#include "cache/turn_selection.h"

// Which entries of a head stay where pictures have a budget of their own. Pure functions.

namespace concertina {

// 0 .. count - 1 in van der Corput order: the first few, however many, are spread evenly over all.
std::vector<int32_t> EvenOrder(int32_t count);

// Ascending indices of the entries that stay, `keep` of them unless pictures may not keep as many
// (EntriesOverImageBudget). The first, the newest and what is pinned stay in any case. Of the rest,
// pictures have what they may keep; where that and the text are more than there is room for, no
// more than half, if the text can use the other one. They share it in proportion to what they may
// keep. A picture's part is spread evenly over its tokens for one half, rounded up, and goes by
// `order` for the other; so does the text's.
//
// `order`: of every entry, the lower the sooner it stays (OrderKeys). REQUIRES: turns are refolded,
// keep at least the entries that stay in any case.
std::vector<int32_t> SelectWithPictures(std::span<const uint64_t> order, const BirthOf& birth,
                                        int32_t keep, const TurnRules& rules);

// Of a prompt of `tokens` that begins at the birth `first`, entries per layer and head that its
// pictures may not keep. `rules`: with the prompt's turn.
int32_t EntriesOverImageBudget(int64_t first, int32_t tokens, const TurnRules& rules);

}  // namespace concertina
