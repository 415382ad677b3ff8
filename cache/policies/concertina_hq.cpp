#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cache/anchors.h"
#include "cache/policies/builtin.h"

namespace concertina {
namespace {

constexpr double kSlope = 2.5;  // as concertina

// As concertina, but prompts are read twice, and an entry is worth the mean attention of the
// queries that could see it, half of it the repetition's (CountRepetition).
class ConcertinaHq final : public Policy {
 public:
  explicit ConcertinaHq(double slope_r) : slope_r_(slope_r) {}

  std::string_view name() const override { return "concertina-hq"; }
  double slope_r() const override { return slope_r_; }
  bool repeats_prompts() const override { return true; }
  OnContextEnd default_on_context_end() const override { return OnContextEnd::kRebase; }

 protected:
  Ranking DoRank(const LayerView& layer, int32_t /*keep*/) const override {
    Ranking ranking;
    for (int32_t h = 0; h < layer.kv_heads; ++h) {
      const std::span<const float> scores = layer.Scores(h);
      const uint32_t* birth = layer.birth + h * layer.capacity;
      std::vector<float> worth(scores.size());
      for (size_t i = 0; i < worth.size(); ++i) {
        worth[i] = scores[i] / static_cast<float>(layer.seen_after - birth[i]);
      }
      ranking.worth.push_back(std::move(worth));
    }
    return ranking;
  }

  int32_t DoVictim(const DecodeView& head) const override {
    return LowestBefore(head.scores, std::max(1, head.cap / 2));
  }

 private:
  double slope_r_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const Policy>> MakeConcertinaHq(const PolicyOptions& options) {
  const double slope_r = options.slope_r.value_or(kSlope);
  if (!(slope_r >= 1.0 / 64 && slope_r <= 64)) {
    return absl::InvalidArgumentError(
        absl::StrCat("slope_r must be between 1/64 and 64, not ", slope_r));
  }
  return std::make_shared<const ConcertinaHq>(slope_r);
}

}  // namespace concertina
