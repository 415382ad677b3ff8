#include "tests/golden/forward_check.h"

#include <algorithm>
#include <span>

#include "absl/strings/str_cat.h"
#include "tests/golden/compare.h"

namespace concertina::testing {
namespace {

void CompareLayers(const FullCacheForward& forward, int32_t layers, const std::string& prefix,
                   GoldenFolder* folder, Report* report) {
  for (const char* stem : {"k.", "v."}) {
    for (const int32_t layer : folder->IndicesOf(prefix, stem)) {
      const std::string quantity = absl::StrCat(stem, layer);
      if (layer < 0 || layer >= layers) {
        folder->MarkUsed(prefix + "/" + quantity);
        report->Failed(quantity, "the model has no such layer");
        continue;
      }
      CompareFloats(prefix, quantity, *stem == 'k' ? forward.Keys(layer) : forward.Values(layer),
                    kFeatureTolerance, folder, report);
    }
  }
}

void CompareHidden(const FullCacheForward& forward, int32_t layers, const std::string& prefix,
                   GoldenFolder* folder, Report* report) {
  for (const int32_t index : folder->IndicesOf(prefix, "hidden.")) {
    const std::string quantity = absl::StrCat("hidden.", index);
    if (index < 0 || index > layers) {
      folder->MarkUsed(prefix + "/" + quantity);
      report->Failed(quantity, "the model has no such layer");
      continue;
    }
    CompareFloats(prefix, quantity, forward.HiddenStates(index), kFeatureTolerance, folder, report);
  }
}

}  // namespace

bool IdsInRange(const std::vector<int32_t>& ids, const LanguageConfig& config,
                const std::string& quantity, Report* report) {
  const auto outside = [&](int32_t id) { return id < 0 || id >= config.vocab; };
  if (!ids.empty() && std::none_of(ids.begin(), ids.end(), outside)) return true;
  report->Failed(quantity, "no ids, or some without an embedding");
  return false;
}

bool WantsColumnSums(const std::string& prefix, const GoldenFolder& folder) {
  return folder.Has(prefix + "/attn_colsum") || folder.Has(prefix + "/attn_colsum_per_head");
}

void CompareState(const FullCacheForward& forward, const LanguageConfig& config,
                  const std::string& prefix, GoldenFolder* folder, Report* report) {
  CompareLayers(forward, config.layers, prefix, folder, report);
  CompareHidden(forward, config.layers, prefix, folder, report);
  if (!WantsColumnSums(prefix, *folder)) return;
  std::vector<float> sums, per_head;
  for (int layer = 0; layer < config.layers; ++layer) {
    const std::vector<float> mean = forward.ColumnSums(layer);
    const std::vector<float> each = forward.ColumnSumsPerHead(layer);
    sums.insert(sums.end(), mean.begin(), mean.end());
    per_head.insert(per_head.end(), each.begin(), each.end());
  }
  const double tolerance = kColumnSumTolerancePerRow * static_cast<double>(forward.tokens());
  CompareFloats(prefix, "attn_colsum", sums, tolerance, folder, report);
  CompareFloats(prefix, "attn_colsum_per_head", per_head, tolerance, folder, report);
}

std::vector<float> ContinuationLogits(FullCacheForward* forward, const LanguageModel& model,
                                      const std::vector<float>& last_logits,
                                      const std::vector<int32_t>& ids) {
  std::vector<float> logits = last_logits;
  if (ids.size() < 2) return logits;
  const std::vector<int32_t> fed(ids.begin(), ids.end() - 1);
  std::vector<float> x = EmbedPrompt(model, fed, -1, {});
  const auto n = static_cast<int64_t>(fed.size());
  forward->Append(n, nullptr, x.data());
  const std::vector<float> more = forward->Logits(x.data(), n);
  logits.insert(logits.end(), more.begin(), more.end());
  return logits;
}

std::vector<int32_t> ArgMaxRows(const std::vector<float>& logits, size_t vocab) {
  std::vector<int32_t> best;
  for (size_t row = 0; row * vocab < logits.size(); ++row) {
    best.push_back(ArgMax(std::span(logits).subspan(row * vocab, vocab)));
  }
  return best;
}

}  // namespace concertina::testing
