#pragma once

#include "cache/session_cache.h"
#include "models/kernels/decode_attention.h"

namespace concertina {

// A session's entries as the CPU's decode attention takes them.

// Where K and V lie in the pages of a cache's rows.
PageLayout PageLayoutOf(const EntryLayout& layout);

// One head's entries, while decoding; q, group and out are left to be filled in. Valid as long as
// PagePointers() and LiveScores() are. Where the policy needs no scores, none are summed.
DecodeItem DecodeItemOf(SessionCache& cache, int layer, int head);

}  // namespace concertina
