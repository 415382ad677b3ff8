#pragma once

#include <cstdint>
#include <span>

#include "cache/precision/packed_group.h"

namespace concertina {

// Dimensions of a head.
constexpr int64_t kPackedHeadDimMax = 256;

// The two products of attention with packed groups of entries, for the query heads that share a key
// head. What codes are multiplied with is rounded to eight bits with one step per head and call,
// its products with zeros and with the middle of the codes' range are not: the error is some
// hundredths of that of the codes. A head's result depends neither on the other heads nor on where
// groups lie (any alignment works).

// scores[head][entry] = q[head] . key[entry] for all kGroupEntries entries of a group; what comes
// out for those that are not there means nothing.
// REQUIRES: head_dim <= kPackedHeadDimMax.
void ScoreGroup(const GroupLayout& layout, const uint8_t* group, const float* q, int64_t heads,
                float* scores, int64_t score_row);

constexpr int64_t kWeighedGroupsMax = 8;

// values[head][channel] = sum of weights[head][entry] value[entry] over all entries of up to
// kWeighedGroupsMax groups. REQUIRES: weights are 0 for entries that are not there.
void WeighGroups(const GroupLayout& layout, std::span<const uint8_t* const> groups,
                 const float* weights, int64_t weight_row, int64_t heads, float* values);

}  // namespace concertina
