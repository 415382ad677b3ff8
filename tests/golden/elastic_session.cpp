#include "tests/golden/elastic_session.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "models/kernels/prefill_attention.h"
#include "tests/cache/session_driver.h"

namespace concertina::testing {
namespace {

// Indices into `before` of what `after` lacks, each as it was when deleted one after another.
std::vector<int> Missing(const std::vector<uint32_t>& before, const std::vector<uint32_t>& after) {
  std::vector<int> missing;
  size_t kept = 0;
  for (const uint32_t birth : before) {
    if (kept < after.size() && after[kept] == birth) {
      ++kept;
    } else {
      missing.push_back(static_cast<int>(kept));
    }
  }
  return missing;
}

}  // namespace

std::vector<float> ImportanceOf(const std::vector<float>& q, int64_t heads,
                                const ElasticPrompt& prompt) {
  const int64_t width = heads * prompt.dims;
  std::vector<float> rows(q.size()), out(q.size());  // [rows, heads, dims]
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t row = 0; row < prompt.entries; ++row) {
      std::copy_n(q.data() + (head * prompt.entries + row) * prompt.dims, prompt.dims,
                  rows.data() + row * width + head * prompt.dims);
    }
  }
  std::vector<float> sums(static_cast<size_t>(prompt.heads) * prompt.entries);
  PrefillAttentionArgs args;
  args.heads = heads;
  args.kv_heads = prompt.heads;
  args.head_dim = prompt.dims;
  args.scale = 1.0F / std::sqrt(static_cast<float>(prompt.dims));
  args.q = rows.data();
  args.q_stride = width;
  args.k = prompt.k.data();
  args.v = prompt.v.data();
  args.kv_head_stride = int64_t{prompt.entries} * prompt.dims;
  args.rows = prompt.entries;
  args.out = out.data();
  args.out_stride = width;
  args.column_sums = sums.data();
  args.column_stride = prompt.entries;
  Workspace workspace;
  PrefillAttention(args, workspace);
  std::vector<float> mean(static_cast<size_t>(prompt.entries));
  for (size_t i = 0; i < sums.size(); ++i) {
    mean[i % mean.size()] += sums[i] / static_cast<float>(prompt.heads);
  }
  return mean;
}

ElasticSession::ElasticSession(const ElasticPrompt& prompt, std::shared_ptr<const Policy> policy,
                               const Budget& budget)
    : shape_{.layers = 1, .kv_heads = prompt.heads, .head_dim = prompt.dims} {
  // A page for every entry of the prompt and of the decode steps is more than enough.
  constexpr int64_t kDecodeStepsMax = 256;
  pool_ = MakePool((prompt.entries + kDecodeStepsMax) * prompt.heads, shape_);
  cache_ = std::make_unique<SessionCache>(pool_.get(), shape_, EntryType::kF32, std::move(policy),
                                          budget, OnContextEnd::kRefuse);
  const auto write = [&](const SessionCache&, int, LayerPrompt* layer) {
    for (int64_t head = 0; head < prompt.heads; ++head) {
      const int64_t row = head * layer->capacity;
      const int64_t from = head * prompt.entries * prompt.dims;
      const int64_t size = int64_t{prompt.entries} * prompt.dims;
      std::copy_n(prompt.k.data() + from, size, layer->k + row * prompt.dims);
      std::copy_n(prompt.v.data() + from, size, layer->v + row * prompt.dims);
      std::copy_n(prompt.importance.data(), prompt.entries, layer->score + row);
      std::copy_n(prompt.mass.data(), prompt.entries, layer->mass + row);
    }
  };
  Keep(Prefill(*cache_, prompt.entries, write));
}

ElasticContents ElasticSession::Contents() const {
  ElasticContents all;
  for (int head = 0; head < shape_.kv_heads; ++head) {
    const HeadContents held = testing::Contents(*cache_, 0, head);
    all.k.insert(all.k.end(), held.k.begin(), held.k.end());
    all.v.insert(all.v.end(), held.v.begin(), held.v.end());
    const std::vector<int32_t> births(held.births.begin(), held.births.end());
    if (head == 0) {
      all.births = births;
      all.masses = held.masses;
    }
    all.heads_agree = all.heads_agree && births == all.births && held.masses == all.masses;
  }
  return all;
}

std::vector<std::vector<int>> ElasticSession::Decode(const std::vector<float>& k,
                                                     const std::vector<float>& v,
                                                     std::span<const int64_t> caps) {
  const int64_t dims = shape_.head_dim;
  const int64_t steps = static_cast<int64_t>(k.size()) / (shape_.kv_heads * dims);
  std::vector<std::vector<int>> deleted;
  cache_->BeginDecode();
  for (int64_t step = 0; step < steps && status_.ok(); ++step) {
    if (!caps.empty()) SetBudget(Budget::Tokens(caps[step]));
    std::vector<float> new_k, new_v;
    for (int64_t head = 0; head < shape_.kv_heads; ++head) {
      const int64_t at = (head * steps + step) * dims;
      new_k.insert(new_k.end(), k.begin() + at, k.begin() + at + dims);
      new_v.insert(new_v.end(), v.begin() + at, v.begin() + at + dims);
    }
    Keep(cache_->AppendToken(0, new_k.data(), new_v.data()));
    if (!status_.ok()) {
      cache_->AbandonToken();
      break;
    }
    const std::vector<uint32_t> before = testing::Contents(*cache_, 0, 0).births;
    cache_->EvictLayer(0);
    cache_->CommitToken();
    deleted.push_back(Missing(before, testing::Contents(*cache_, 0, 0).births));
  }
  cache_->EndDecode();
  return deleted;
}

}  // namespace concertina::testing
