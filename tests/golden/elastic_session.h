#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "cache/page_pool.h"
#include "cache/session_cache.h"

namespace concertina::testing {

// K and V of one layer, [heads][entries][dims], with the score and mass of every entry.
struct ElasticPrompt {
  std::vector<float> k, v;
  int32_t heads = 0, entries = 0, dims = 0;
  std::vector<float> importance;
  std::vector<uint16_t> mass;
};

// What a session's only layer holds, heads side by side; births and masses are those of head 0.
struct ElasticContents {
  std::vector<float> k, v;
  std::vector<int32_t> births;
  std::vector<uint16_t> masses;
  bool heads_agree = true;  // every head holds the same births and masses
};

// The importance of a prompt's tokens as the engine's attention adds it up, mean over heads:
// [keys]. q: [heads][entries][dims].
std::vector<float> ImportanceOf(const std::vector<float>& q, int64_t heads,
                                const ElasticPrompt& prompt);

// A session of one layer, f32 entries, whose prompt is given.
class ElasticSession {
 public:
  ElasticSession(const ElasticPrompt& prompt, std::shared_ptr<const Policy> policy,
                 const Budget& budget);

  // Of the prefill and of every call so far.
  const absl::Status& status() const { return status_; }
  void SetBudget(const Budget& budget) { Keep(cache_->SetBudget(budget)); }
  ElasticContents Contents() const;

  // Appends entries [heads][steps][dims] one by one. Returns what was deleted at each step: indices
  // in birth order, each as it was when its turn came. `caps`: a token budget for every step, or
  // empty.
  std::vector<std::vector<int>> Decode(const std::vector<float>& k, const std::vector<float>& v,
                                       std::span<const int64_t> caps = {});

 private:
  void Keep(const absl::Status& status) {
    if (status_.ok()) status_ = status;
  }

  CacheShape shape_;
  std::unique_ptr<PagePool> pool_;
  std::unique_ptr<SessionCache> cache_;
  absl::Status status_;
};

}  // namespace concertina::testing
