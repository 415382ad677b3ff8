#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/golden/folder.h"
#include "tests/golden/report.h"
#include "tests/support/full_cache_forward.h"

namespace concertina::testing {

// Whether every id has an embedding; says so in the report if not.
bool IdsInRange(const std::vector<int32_t>& ids, const LanguageConfig& config,
                const std::string& quantity, Report* report);

// What a prompt that has just run left behind against `<prefix>/k.N`, v.N, hidden.N, attn_colsum
// and attn_colsum_per_head.
void CompareState(const FullCacheForward& forward, const LanguageConfig& config,
                  const std::string& prefix, GoldenFolder* folder, Report* report);

// Whether the folder has values that need the attention's column sums.
bool WantsColumnSums(const std::string& prefix, const GoldenFolder& folder);

// Runs a known continuation after a prompt; returns the logits each of its tokens is chosen from,
// [ids, vocab], the first being the prompt's last row. The model has no low-rank adapter.
std::vector<float> ContinuationLogits(FullCacheForward* forward, const LanguageModel& model,
                                      const std::vector<float>& last_logits,
                                      const std::vector<int32_t>& ids);

// The best token of each row.
std::vector<int32_t> ArgMaxRows(const std::vector<float>& logits, size_t vocab);

}  // namespace concertina::testing
