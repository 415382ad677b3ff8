#include "client/cli/verify.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/cli/text.h"

namespace concertina::cli {
namespace {

absl::Status Wrong(const std::string& what) { return absl::FailedPreconditionError(what); }

absl::Status VerifyBudget(const v1::CacheState& cache, const std::string& when) {
  if (cache.live_entries() <= 0) return Wrong(absl::StrCat("the cache is empty after ", when));
  if (cache.live_entries() > cache.budget_entries()) {
    return Wrong(absl::StrCat("the cache holds ", cache.live_entries(), " entries after ", when,
                              ", its budget is ", cache.budget_entries()));
  }
  if (cache.budget().has_bytes() && !cache.raised_to_floor() &&
      cache.used_bytes() > cache.budget().bytes()) {
    return Wrong(absl::StrCat("the cache uses ", cache.used_bytes(), " bytes after ", when,
                              ", its budget is ", cache.budget().bytes()));
  }
  return absl::OkStatus();
}

absl::Status VerifyFold(const v1::Folded& folded, int layers) {
  if (folded.layers_size() != layers) {
    return Wrong(absl::StrCat(folded.layers_size(), " of ", layers, " layers were folded"));
  }
  for (const auto& layer : folded.layers()) {
    const double mass = layer.attention_mass_kept();
    // Rounding may put the mass a little above 1. Written so that NaN fails.
    if (layer.entries_after() > layer.entries_before() || !(mass >= 0.0 && mass <= 1.001)) {
      return Wrong("a layer's fold is impossible");
    }
  }
  const FoldTotals totals = TotalsOf(folded);
  if (totals.entries_after != folded.cache().live_entries()) {
    return Wrong(absl::StrCat("the layers keep ", totals.entries_after, " entries, the session ",
                              folded.cache().live_entries()));
  }
  if (totals.bytes_after != folded.cache().used_bytes()) {
    return Wrong(absl::StrCat("the layers use ", totals.bytes_after, " bytes, the session ",
                              folded.cache().used_bytes()));
  }
  return VerifyBudget(folded.cache(), "folding");
}

}  // namespace

absl::Status VerifyTurn(const client::Answer& answer, int layers) {
  if (answer.stopped) return Wrong("the answer was stopped");
  if (absl::StripAsciiWhitespace(answer.text).empty()) return Wrong("the answer is empty");
  if (!answer.folded.has_value()) return Wrong("the cache was not folded");
  if (auto status = VerifyFold(*answer.folded, layers); !status.ok()) return status;
  return VerifyBudget(answer.completed.cache(), "the answer");
}

}  // namespace concertina::cli
