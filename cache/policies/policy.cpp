#include "cache/policies/policy.h"

#include "cache/anchors.h"
#include "cache/check.h"

namespace concertina {

std::vector<float> MeanScores(const LayerView& layer) {
  std::vector<float> means(static_cast<size_t>(layer.entries));
  for (int32_t i = 0; i < layer.entries; ++i) {
    double sum = 0;
    for (int32_t h = 0; h < layer.kv_heads; ++h) {
      sum += static_cast<double>(layer.Scores(h)[i]);
    }
    means[i] = static_cast<float>(sum / layer.kv_heads);
  }
  return means;
}

Selection Policy::Select(const LayerView& layer, int32_t keep) const {
  const int32_t count = KeptCount(keep, layer.entries);
  Selection kept = DoSelect(layer, count);
  CONCERTINA_CHECK(kept.size() == static_cast<size_t>(layer.kv_heads),
                   "a policy must select for every KV head");
  for (const std::vector<int32_t>& head : kept) {
    CONCERTINA_CHECK(head.size() == static_cast<size_t>(count),
                     "a policy must keep exactly its share");
    CONCERTINA_CHECK(head.empty() || (head.front() == 0 && head.back() == layer.entries - 1),
                     "a policy must keep the first and the newest entry");
    for (size_t i = 1; i < head.size(); ++i) {
      CONCERTINA_CHECK(head[i - 1] < head[i], "a policy must select in ascending order");
    }
  }
  return kept;
}

std::vector<float> Policy::Concentration(const LayerView& /*layer*/) const { return {}; }

std::vector<double> Policy::LayerWeights(std::span<const std::vector<float>> /*concentrations*/,
                                         int64_t /*total*/) const {
  return {};
}

MergedHead Policy::Merge(const HeadEntries& head, std::span<const int32_t> kept) const {
  return MergeBuckets(head, kept, MergeMode::kNone, /*pure_sink=*/false);
}

int32_t Policy::Victim(const DecodeView& head) const {
  const auto entries = static_cast<int32_t>(head.scores.size());
  CONCERTINA_CHECK(entries >= 3, "the first and the newest entry are never deleted");
  const int32_t victim = DoVictim(head);
  CONCERTINA_CHECK(victim >= 1 && victim <= entries - 2,
                   "a policy must not delete the first or the newest entry");
  return victim;
}

}  // namespace concertina
