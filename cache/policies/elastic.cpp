#include <algorithm>

#include "cache/policies/builtin.h"

namespace concertina {
namespace {

// Distance of the deletion point from the end of the folded cache (arXiv 2407.18121, section 3.3).
constexpr int32_t kDeleteDistance = 25;

// The method of the Elastic Cache paper, arXiv 2407.18121. Importance of an entry is the attention
// it has received, mean over heads; the top entries of a layer are its anchors, everything else is
// merged into the nearest one. While decoding, entries are deleted at a fixed point.
class Elastic final : public Policy {
 public:
  explicit Elastic(const PolicyOptions& options)
      : merge_(options.merge), pure_sink_(options.pure_sink) {}

  std::string_view name() const override { return "elastic"; }

  bool merges() const override { return merge_ != MergeMode::kNone; }
  MergedHead Merge(const HeadEntries& head, std::span<const int32_t> kept) const override {
    return MergeBuckets(head, kept, merge_, pure_sink_);
  }

 protected:
  Ranking DoRank(const LayerView& layer, int32_t /*keep*/) const override {
    return {.worth = {MeanScores(layer)}};
  }

  int32_t DoVictim(const DecodeView& head) const override {
    const auto entries = static_cast<int32_t>(head.scores.size());
    return std::clamp(head.anchors_at_fold - kDeleteDistance, 1, entries - 2);
  }

 private:
  MergeMode merge_;
  bool pure_sink_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const Policy>> MakeElastic(const PolicyOptions& options) {
  return std::make_shared<const Elastic>(options);
}

}  // namespace concertina
