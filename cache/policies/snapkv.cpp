#include <algorithm>
#include <limits>

#include "cache/anchors.h"
#include "cache/policies/builtin.h"

namespace concertina {
namespace {

constexpr int32_t kWindow = 32;  // queries that vote, and newest entries that stay
constexpr int32_t kReach = 3;    // pooling looks at this many neighbours on either side

// The highest score among an entry and its neighbours, so that runs of entries stay together. NaN
// is no score.
std::vector<float> MaxPool(std::span<const float> scores) {
  const auto entries = static_cast<int32_t>(scores.size());
  std::vector<float> pooled(scores.size());
  for (int32_t i = 0; i < entries; ++i) {
    float most = -std::numeric_limits<float>::infinity();
    const int32_t last = std::min(entries - 1, i + kReach);
    for (int32_t j = std::max(0, i - kReach); j <= last; ++j) {
      most = scores[j] > most ? scores[j] : most;
    }
    pooled[i] = most;
  }
  return pooled;
}

// SnapKV, arXiv 2404.14469: per KV head, the newest entries and those that the prompt's last
// queries look at. The paper drops nothing while decoding; here the entry with the least attention
// since the window began goes, outside the newest ones.
class SnapKv final : public Policy {
 public:
  std::string_view name() const override { return "snapkv"; }
  int32_t score_window() const override { return kWindow; }
  OnContextEnd default_on_context_end() const override { return OnContextEnd::kRebase; }

 protected:
  Ranking DoRank(const LayerView& layer, int32_t /*keep*/) const override {
    Ranking ranking{.recent = kWindow};
    for (int32_t h = 0; h < layer.kv_heads; ++h) {
      ranking.worth.push_back(MaxPool(layer.Scores(h)));
    }
    return ranking;
  }

  int32_t DoVictim(const DecodeView& head) const override {
    return LowestBefore(head.scores, std::clamp(head.cap / 2, 1, kWindow));
  }
};

}  // namespace

absl::StatusOr<std::shared_ptr<const Policy>> MakeSnapKv(const PolicyOptions& /*options*/) {
  return std::make_shared<const SnapKv>();
}

}  // namespace concertina
