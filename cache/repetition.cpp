#include "cache/repetition.h"

#include <cmath>

namespace concertina {

void CountRepetition(const LayerPrompt& prompt, int32_t kv_heads, int64_t seen_after) {
  for (int32_t head = 0; head < kv_heads; ++head) {
    const int64_t first = head * prompt.capacity + prompt.old_entries;
    const int64_t end = first + prompt.new_entries;
    const auto queries = [&](int64_t i) {
      return static_cast<double>(seen_after - int64_t{prompt.birth[i]});
    };
    double mean = 0;
    double repeated = 0;
    for (int64_t i = first; i < end; ++i) {
      mean += static_cast<double>(prompt.score[i]) / queries(i);
      repeated += static_cast<double>(prompt.repeated[i]);
    }
    if (!std::isfinite(mean) || !std::isfinite(repeated) || repeated <= 0) {
      continue;
    }
    const double scale = mean / repeated;
    for (int64_t i = first; i < end; ++i) {
      const double paid = queries(i) * scale * static_cast<double>(prompt.repeated[i]);
      prompt.score[i] = static_cast<float>((static_cast<double>(prompt.score[i]) + paid) / 2);
    }
  }
}

}  // namespace concertina
