#include "tests/support/full_cache_forward.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "models/kernels/prefill_attention.h"

namespace concertina::testing {

FullCacheForward::FullCacheForward(const LanguageModel& model, const Options& options)
    : model_(model), options_(options) {
  const LanguageConfig& config = model.config();
  const size_t size = static_cast<size_t>(config.kv_width() * options.capacity);
  layers_.resize(static_cast<size_t>(config.layers));
  for (LayerCache& layer : layers_) {
    layer.k.resize(size);
    layer.v.resize(size);
    if (options.column_sums) {
      layer.sums.resize(static_cast<size_t>(config.heads * options.capacity));
    }
  }
}

void FullCacheForward::Append(int64_t n, const float* adapter_scale, float* x) {
  const LanguageConfig& config = model_.config();
  const auto buffer = [n](int64_t width) {
    return std::vector<float>(static_cast<size_t>(n * width));
  };
  std::vector<float> attention = buffer(config.q_width());
  std::vector<int32_t> positions(static_cast<size_t>(n));
  std::iota(positions.begin(), positions.end(), static_cast<int32_t>(tokens_));
  const auto keep_hidden = [&] {
    if (options_.hidden_states) hidden_states_.emplace_back(x, x + n * config.hidden);
  };
  hidden_states_.clear();
  keep_hidden();
  for (int layer = 0; layer < config.layers; ++layer) {
    LayerCache& cache = layers_[static_cast<size_t>(layer)];
    const LanguageModel::Projected projected =
        model_.Qkv(layer, x, n, positions.data(), adapter_scale);
    Store(projected.k, projected.stride, n, &cache.k);
    Store(projected.v, projected.stride, n, &cache.v);
    Attend(cache, projected, n, &attention);
    model_.AfterAttention(layer, attention.data(), n, adapter_scale, x);
    keep_hidden();
  }
  if (options_.hidden_states) model_.FinalNorm(x, n, hidden_states_.back().data());
  tokens_ += n;
}

std::vector<float> FullCacheForward::Step(int32_t token, float adapter_scale) {
  std::vector<float> x(static_cast<size_t>(model_.config().hidden));
  model_.Embed(std::span(&token, 1), x.data());
  Append(1, &adapter_scale, x.data());
  return Logits(x.data(), 1);
}

std::vector<float> FullCacheForward::Logits(const float* x, int64_t n) const {
  std::vector<float> logits(static_cast<size_t>(n * model_.config().vocab));
  model_.Logits(x, n, logits.data());
  return logits;
}

// Rows [n, kv_heads, head_dim] behind what each head has.
void FullCacheForward::Store(const float* rows, int64_t stride, int64_t n,
                             std::vector<float>* heads) const {
  const LanguageConfig& config = model_.config();
  const int64_t d = config.head_dim;
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t head = 0; head < config.kv_heads; ++head) {
      std::copy_n(rows + row * stride + head * d, d,
                  heads->data() + (head * options_.capacity + tokens_ + row) * d);
    }
  }
}

void FullCacheForward::Attend(LayerCache& cache, const LanguageModel::Projected& projected,
                              int64_t n, std::vector<float>* out) {
  const LanguageConfig& config = model_.config();
  PrefillAttentionArgs args;
  args.heads = config.heads;
  args.kv_heads = config.kv_heads;
  args.head_dim = config.head_dim;
  args.scale = 1.0F / std::sqrt(static_cast<float>(config.head_dim));
  args.q = projected.q;
  args.q_stride = projected.stride;
  args.k = cache.k.data();
  args.v = cache.v.data();
  args.kv_head_stride = options_.capacity * config.head_dim;
  args.rows = n;
  args.first_key = tokens_;
  args.out = out->data();
  args.out_stride = config.q_width();
  if (options_.column_sums) {
    args.per_query_head_sums = cache.sums.data();
    args.per_query_head_stride = options_.capacity;
  }
  PrefillAttention(args, workspace_);
}

std::vector<float> FullCacheForward::Gather(const std::vector<float>& heads) const {
  const LanguageConfig& config = model_.config();
  std::vector<float> result;
  for (int64_t head = 0; head < config.kv_heads; ++head) {
    const float* from = heads.data() + head * options_.capacity * config.head_dim;
    result.insert(result.end(), from, from + tokens_ * config.head_dim);
  }
  return result;
}

std::vector<float> FullCacheForward::Keys(int layer) const {
  return Gather(layers_[static_cast<size_t>(layer)].k);
}

std::vector<float> FullCacheForward::Values(int layer) const {
  return Gather(layers_[static_cast<size_t>(layer)].v);
}

std::vector<float> FullCacheForward::ColumnSumsPerHead(int layer) const {
  const std::vector<float>& sums = layers_[static_cast<size_t>(layer)].sums;
  std::vector<float> result;
  for (int64_t head = 0; head < model_.config().heads; ++head) {
    const float* from = sums.data() + head * options_.capacity;
    result.insert(result.end(), from, from + tokens_);
  }
  return result;
}

std::vector<float> FullCacheForward::ColumnSums(int layer) const {
  const std::vector<float> per_head = ColumnSumsPerHead(layer);
  const int64_t heads = model_.config().heads;
  std::vector<float> result(static_cast<size_t>(tokens_));
  for (size_t i = 0; i < per_head.size(); ++i) {
    result[i % result.size()] += per_head[i] / static_cast<float>(heads);
  }
  return result;
}

std::vector<float> EmbedPrompt(const LanguageModel& model, std::span<const int32_t> ids,
                               int32_t image_token, std::span<const float> features) {
  const int64_t hidden = model.config().hidden;
  std::vector<float> x(ids.size() * static_cast<size_t>(hidden));
  model.Embed(ids, x.data());
  size_t used = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] != image_token || used + static_cast<size_t>(hidden) > features.size()) continue;
    std::copy_n(features.data() + used, hidden, x.data() + static_cast<int64_t>(i) * hidden);
    used += static_cast<size_t>(hidden);
  }
  return x;
}

int32_t ArgMax(std::span<const float> values) {
  return static_cast<int32_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

}  // namespace concertina::testing
