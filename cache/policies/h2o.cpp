#include <algorithm>

#include "cache/anchors.h"
#include "cache/policies/builtin.h"

namespace concertina {
namespace {

// Heavy hitters, arXiv 2306.14048: per KV head, half of the share goes to the newest entries, the
// other half to those with the most attention so far. The same rule decides at every fold and,
// while decoding, at every token.
class H2o final : public Policy {
 public:
  std::string_view name() const override { return "h2o"; }
  OnContextEnd default_on_context_end() const override { return OnContextEnd::kRebase; }

 protected:
  Ranking DoRank(const LayerView& layer, int32_t keep) const override {
    Ranking ranking{.recent = std::max(1, keep / 2)};
    for (int32_t h = 0; h < layer.kv_heads; ++h) {
      const std::span<const float> scores = layer.Scores(h);
      ranking.worth.emplace_back(scores.begin(), scores.end());
    }
    return ranking;
  }

  int32_t DoVictim(const DecodeView& head) const override {
    return LowestBefore(head.scores, std::max(1, head.cap / 2));
  }
};

}  // namespace

absl::StatusOr<std::shared_ptr<const Policy>> MakeH2o(const PolicyOptions& /*options*/) {
  return std::make_shared<const H2o>();
}

}  // namespace concertina
