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
  Ranking DoRank(const LayerView& /*layer*/, int32_t /*keep*/) const override {
    CONCERTINA_CHECK(false, "the full policy has no shares");
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
