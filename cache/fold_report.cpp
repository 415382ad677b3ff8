#include "cache/fold_report.h"

#include <algorithm>
#include <span>

namespace concertina {

void AddAttention(const LayerView& view, const Selection& kept, FoldReport* report) {
  for (int32_t head = 0; head < view.kv_heads; ++head) {
    const std::span<const float> scores = view.Scores(head);
    for (const float score : scores) {
      report->score_before += static_cast<double>(score);
    }
    for (const int32_t index : kept[head]) {
      report->score_kept += static_cast<double>(scores[index]);
    }
  }
  if (report->score_before > 0) {
    report->mass_kept = std::clamp(report->score_kept / report->score_before, 0.0, 1.0);
  }
}

}  // namespace concertina
