#include <numeric>

#include "cache/check.h"
#include "cache/policies/builtin.h"

namespace concertina {
namespace {

// Nothing is dropped.
class Full final : public Policy {
 public:
  std::string_view name() const override { return "full"; }
  bool keeps_everything() const override { return true; }
  bool needs_scores() const override { return false; }

 protected:
  Selection DoSelect(const LayerView& layer, int32_t keep) const override {
    std::vector<int32_t> all(static_cast<size_t>(keep));
    std::iota(all.begin(), all.end(), 0);
    return Selection(static_cast<size_t>(layer.kv_heads), all);
  }

  int32_t DoVictim(const DecodeView& /*head*/) const override {
    CONCERTINA_CHECK(false, "the full policy has no victims");
  }
};

}  // namespace

absl::StatusOr<std::shared_ptr<const Policy>> MakeFull(const PolicyOptions& /*options*/) {
  return std::make_shared<const Full>();
}

}  // namespace concertina
