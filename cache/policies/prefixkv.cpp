#include <algorithm>

#include "cache/anchors.h"
#include "cache/policies/builtin.h"

namespace concertina {
namespace {

constexpr double kLeastShare = 0.3;  // of an even split, so that no layer is starved
constexpr int32_t kFrame = 2;        // the first and the newest entry
constexpr int kHalvings = 40;

// PrefixKV, arXiv 2412.03409: every layer keeps the most attended entries (mean over heads), as
// many as it takes to hold one and the same part of the attention in all layers. That part is the
// largest the budget affords. While decoding, as `h2o`.
class PrefixKv final : public Policy {
 public:
  std::string_view name() const override { return "prefixkv"; }
  OnContextEnd default_on_context_end() const override { return OnContextEnd::kRebase; }
  bool measures_layers() const override { return true; }

  // The part of the layer's attention that the frame and the best 1, 2, .. others hold.
  std::vector<float> Concentration(const LayerView& layer) const override {
    std::vector<float> scores = MeanScores(layer);
    double all = 0;
    for (float& score : scores) {
      score = score > 0 ? score : 0;
      all += static_cast<double>(score);
    }
    if (layer.entries <= kFrame || all <= 0) {
      return {};
    }
    double held = static_cast<double>(scores.front() + scores.back());
    std::vector<float> parts(scores.begin() + 1, scores.end() - 1);
    std::sort(parts.begin(), parts.end(), std::greater<>());
    for (float& part : parts) {
      held += static_cast<double>(part);
      part = static_cast<float>(held / all);
    }
    return parts;
  }

  std::vector<double> LayerWeights(std::span<const std::vector<float>> concentrations,
                                   int64_t total) const override {
    const double even = static_cast<double>(total) / static_cast<double>(concentrations.size());
    const auto least = static_cast<int64_t>(kLeastShare * even);
    const auto entries = [&](size_t layer, double part) {
      const std::vector<float>& parts = concentrations[layer];
      const auto below = std::lower_bound(parts.begin(), parts.end(), static_cast<float>(part));
      return kFrame + std::max<int64_t>({below - parts.begin(), least - kFrame, 1});
    };
    double low = 0;
    double high = 1;
    for (int i = 0; i < kHalvings; ++i) {
      const double part = (low + high) / 2;
      int64_t sum = 0;
      for (size_t layer = 0; layer < concentrations.size(); ++layer) {
        sum += entries(layer, part);
      }
      (sum > total ? high : low) = part;
    }
    std::vector<double> weights;
    for (size_t layer = 0; layer < concentrations.size(); ++layer) {
      weights.push_back(static_cast<double>(entries(layer, low)));
    }
    return weights;
  }

 protected:
  Ranking DoRank(const LayerView& layer, int32_t /*keep*/) const override {
    return {.worth = {MeanScores(layer)}};
  }

  int32_t DoVictim(const DecodeView& head) const override {
    return LowestBefore(head.scores, std::max(1, head.cap / 2));
  }
};

}  // namespace

absl::StatusOr<std::shared_ptr<const Policy>> MakePrefixKv(const PolicyOptions& /*options*/) {
  return std::make_shared<const PrefixKv>();
}

}  // namespace concertina
