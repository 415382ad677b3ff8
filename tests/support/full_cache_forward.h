#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/kernels/workspace.h"
#include "models/language/language_model.h"

namespace concertina::testing {

// A language model run with a cache that forgets nothing, in the simplest way: what every elastic
// cache is compared with. One thread.
class FullCacheForward {
 public:
  struct Options {
    int64_t capacity = 0;        // tokens in all
    bool column_sums = false;    // of the attention, see ColumnSums()
    bool hidden_states = false;  // see HiddenStates()
  };

  // `model` must outlive this.
  FullCacheForward(const LanguageModel& model, const Options& options);

  // Runs n more tokens given as embeddings x [n, hidden], which receives the last layer's output.
  // adapter_scale: nullable [n]. REQUIRES: the capacity is not exceeded.
  void Append(int64_t n, const float* adapter_scale, float* x);

  // Embeds and runs one token; its logits [vocab].
  std::vector<float> Step(int32_t token, float adapter_scale);

  // [n, vocab] of the last layer's output x [n, hidden].
  std::vector<float> Logits(const float* x, int64_t n) const;

  int64_t tokens() const { return tokens_; }

  // [kv_heads, tokens, head_dim], keys rotated.
  std::vector<float> Keys(int layer) const;
  std::vector<float> Values(int layer) const;

  // Sum over all queries so far of the attention each token received: [heads, tokens], and its mean
  // over the heads [tokens].
  std::vector<float> ColumnSumsPerHead(int layer) const;
  std::vector<float> ColumnSums(int layer) const;

  // Of the last Append: index 0 is the input, i the output of layer i - 1, the last one after the
  // final norm, as in HF's hidden_states. [n, hidden].
  const std::vector<float>& HiddenStates(int index) const {
    return hidden_states_[static_cast<size_t>(index)];
  }

 private:
  struct LayerCache {
    std::vector<float> k, v;  // [kv_heads, capacity, head_dim]
    std::vector<float> sums;  // [heads, capacity]
  };

  std::vector<float> Gather(const std::vector<float>& heads) const;
  void Store(const float* rows, int64_t stride, int64_t n, std::vector<float>* heads) const;
  void Attend(LayerCache& cache, const LanguageModel::Projected& projected, int64_t n,
              std::vector<float>* out);

  const LanguageModel& model_;
  Options options_;
  int64_t tokens_ = 0;
  std::vector<LayerCache> layers_;
  std::vector<std::vector<float>> hidden_states_;
  Workspace workspace_;
};

// Embeddings [ids, hidden] of a prompt in which every `image_token` stands for the next row of
// `features` (empty: none).
std::vector<float> EmbedPrompt(const LanguageModel& model, std::span<const int32_t> ids,
                               int32_t image_token, std::span<const float> features);

// The index of the largest value; the lowest of several.
int32_t ArgMax(std::span<const float> values);

}  // namespace concertina::testing
