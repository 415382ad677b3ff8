#include "cache/precision/query_moments.h"

namespace concertina {

void AddQueryMoments(const float* q, int32_t query_heads, int32_t kv_heads, int32_t head_dim,
                     float* moments) {
  const int64_t d = head_dim;
  const int32_t group = query_heads / kv_heads;
  for (int32_t head = 0; head < query_heads; ++head, q += d) {
    float* row = moments + head / group * d * d;
    for (int64_t i = 0; i < d; ++i, row += d) {
      const float factor = q[i];
      for (int64_t j = 0; j <= i; ++j) row[j] += factor * q[j];
    }
  }
}

}  // namespace concertina
