#include "cache/policies/builtin.h"
#include "cache/policies/ranking.h"

namespace concertina {
namespace {

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
    return RankFading(
        layer, [&](int32_t head, int32_t index) { return MeanAttention(layer, head, index); });
  }

  int32_t DoVictim(const DecodeView& head) const override { return LeastAttended(head); }
  std::vector<int32_t> DoVictims(const DecodeView& head, int32_t count) const override {
    return LeastAttended(head, count);
  }

 private:
  double slope_r_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const Policy>> MakeConcertinaHq(const PolicyOptions& options) {
  const auto slope_r = SlopeOf(options);
  if (!slope_r.ok()) {
    return slope_r.status();
  }
  return std::make_shared<const ConcertinaHq>(*slope_r);
}

}  // namespace concertina
