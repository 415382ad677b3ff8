#include <algorithm>
#include <numeric>
#include <utility>

#include "cache/policies/builtin.h"

namespace concertina {
namespace {

constexpr int32_t kSinks = 4;

// StreamingLLM, arXiv 2309.17453: the first four entries and the newest ones, whatever attention
// says. Positions are not renumbered.
class Local final : public Policy {
 public:
  std::string_view name() const override { return "local"; }
  bool needs_scores() const override { return false; }
  OnContextEnd default_on_context_end() const override { return OnContextEnd::kRebase; }

 protected:
  Ranking DoRank(const LayerView& layer, int32_t /*keep*/) const override {
    std::vector<float> newness(static_cast<size_t>(layer.entries));
    std::iota(newness.begin(), newness.end(), 0.0F);
    return {.worth = {std::move(newness)}, .sinks = kSinks};
  }

  int32_t DoVictim(const DecodeView& head) const override { return std::min(kSinks, head.cap - 1); }
};

}  // namespace

absl::StatusOr<std::shared_ptr<const Policy>> MakeLocal(const PolicyOptions& /*options*/) {
  return std::make_shared<const Local>();
}

}  // namespace concertina
