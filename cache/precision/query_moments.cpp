#include "cache/precision/query_moments.h"

#include <algorithm>

#include "cache/precision/isa_clones.h"

namespace concertina {
namespace {

// Whole vectors of a row are computed, though what is right of the diagonal is not read.
constexpr int64_t kColumns = 16;

}  // namespace

CONCERTINA_ISA_CLONES
void AddQueryMoments(const float* q, int32_t query_heads, int32_t kv_heads, int32_t head_dim,
                     float* moments) {
  const int64_t d = head_dim;
  const int32_t group = query_heads / kv_heads;
  for (int32_t head = 0; head < query_heads; ++head, q += d) {
    float* __restrict row = moments + head / group * d * d;
    const float* __restrict x = q;
    for (int64_t i = 0; i < d; ++i, row += d) {
      const float factor = x[i];
      const int64_t end = std::min(d, (i / kColumns + 1) * kColumns);
      for (int64_t j = 0; j < end; ++j) row[j] += factor * x[j];
    }
  }
}

}  // namespace concertina
