#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "cache/page_pool.h"
#include "cache/session_cache.h"

// Drives a SessionCache the way the engine does, with entries that say where they came from.

namespace concertina::testing {

// Owns the memory of one LayerPrompt.
class PromptWorkspace {
 public:
  LayerPrompt* Prepare(const SessionCache& cache);

 private:
  LayerPrompt prompt_;
  std::vector<float> k_, v_, score_, repeated_;
  std::vector<uint32_t> birth_;
  std::vector<uint16_t> mass_;
};

// A deterministic value in [-1, 1) for one element; exact in bf16.
float Element(uint32_t session, int layer, int head, uint32_t birth, int64_t dim, bool value);
// By how much a stored Element() may differ: 0, but half a step and a clipped end for bytes.
float StoredError(EntryType type);

// Writes K, V and attention, of a repetition too where the policy asks for one, for one layer of a
// prefill. `prompt` is loaded; the default writes Element() and pseudo-random attention.
using LayerWriter = std::function<void(const SessionCache&, int layer, LayerPrompt*)>;
LayerWriter ElementWriter(uint32_t session);

// A whole prefill. Stops at the first error; `folds` (optional) collects the reports.
absl::Status Prefill(SessionCache& cache, int32_t tokens, const LayerWriter& writer,
                     std::vector<FoldReport>* folds = nullptr,
                     const std::vector<TokenSpan>& pins = {});

// From a prefill that has begun on.
absl::Status FoldPrompt(SessionCache& cache, const LayerWriter& writer,
                        std::vector<FoldReport>* folds = nullptr);

// One decode step between BeginDecode and EndDecode; adds pseudo-random attention.
absl::Status DecodeToken(SessionCache& cache, uint32_t session);

// What one head holds, in birth order.
struct HeadContents {
  std::vector<uint32_t> births;
  std::vector<float> k, v;
  std::vector<uint16_t> masses;
  std::vector<float> scores;
};
HeadContents Contents(const SessionCache& cache, int layer, int head);

std::unique_ptr<PagePool> MakePool(int64_t pages, CacheShape shape);
// A policy's name as that of a parameterized test: without dashes.
std::string TestName(std::string_view policy);
// Every registered policy, and "concertina_adaptive": `concertina` with adaptive heads.
std::vector<std::string_view> PoliciesToTest();
// One of those, or by name with options. Throws std::runtime_error where there is none.
std::shared_ptr<const Policy> PolicyOf(std::string_view name, const PolicyOptions& options = {});

}  // namespace concertina::testing
