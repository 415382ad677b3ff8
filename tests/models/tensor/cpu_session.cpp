#include "tests/models/tensor/cpu_session.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "models/kernels/decode_attention.h"
#include "models/kernels/prefill_attention.h"

namespace concertina::testing {
namespace {

constexpr int64_t kPages = 4096;

void Check(const absl::Status& status) {
  if (!status.ok()) ADD_FAILURE() << status;
}

std::vector<float> Floats(int64_t count) { return std::vector<float>(static_cast<size_t>(count)); }

// Memory of one layer's prompt.
struct Prompt {
  Prompt(const SessionCache& cache, int64_t capacity)
      : k(Floats(cache.shape().kv_heads * capacity * cache.shape().head_dim)),
        v(k),
        score(Floats(cache.shape().kv_heads * capacity)),
        birth(score.size()),
        mass(score.size()) {
    view = {.k = k.data(),
            .v = v.data(),
            .score = score.data(),
            .birth = birth.data(),
            .mass = mass.data(),
            .capacity = capacity};
  }
  std::vector<float> k, v, score;
  std::vector<uint32_t> birth;
  std::vector<uint16_t> mass;
  LayerPrompt view;
};

// Rows of kv_heads * head_dim floats, `stride` apart, after the old entries of `to`,
// [kv_heads][capacity][head_dim].
void Scatter(const float* rows, int64_t stride, CacheShape shape, const LayerPrompt& prompt,
             float* to) {
  for (int64_t i = 0; i < prompt.new_entries; ++i) {
    for (int64_t head = 0; head < shape.kv_heads; ++head) {
      std::copy_n(rows + i * stride + head * shape.head_dim, shape.head_dim,
                  to + (head * prompt.capacity + prompt.old_entries + i) * shape.head_dim);
    }
  }
}

}  // namespace

CpuSession::CpuSession(const LanguageModel& model, std::shared_ptr<const Policy> policy,
                       Budget budget)
    : model_(model) {
  const LanguageConfig& config = model.config();
  const CacheShape shape{
      .layers = config.layers, .kv_heads = config.kv_heads, .head_dim = config.head_dim};
  const int64_t page_bytes = PageBytesFor(shape);
  auto pool = PagePool::Create(kPages * page_bytes, page_bytes);
  if (!pool.ok()) ADD_FAILURE() << pool.status();
  pool_ = *std::move(pool);
  cache_ = std::make_unique<SessionCache>(pool_.get(), shape, EntryType::kF32, std::move(policy),
                                          budget, OnContextEnd::kRefuse);
}

std::vector<float> CpuSession::Prefill(std::span<const int32_t> ids) {
  const LanguageConfig& config = model_.config();
  const auto rows = static_cast<int64_t>(ids.size());
  std::vector<float> x = Floats(rows * config.hidden);
  model_.Embed(ids, x.data());
  std::vector<int32_t> positions(ids.size());
  std::iota(positions.begin(), positions.end(), static_cast<int32_t>(cache_->seen()));
  Check(cache_->BeginPrefill(static_cast<int32_t>(rows)));
  for (int layer = 0; layer < config.layers; ++layer) {
    PrefillLayer(layer, rows, positions.data(), x.data());
  }
  cache_->CommitPrefill();
  cache_->BeginDecode();
  std::vector<float> logits = Floats(config.vocab);
  model_.Logits(x.data() + (rows - 1) * config.hidden, 1, logits.data());
  return logits;
}

void CpuSession::PrefillLayer(int layer, int64_t rows, const int32_t* positions, float* x) {
  const LanguageConfig& config = model_.config();
  std::vector<float> out = Floats(rows * config.q_width());
  Prompt prompt(*cache_, cache_->PrefillEntries());
  cache_->LoadLayer(layer, &prompt.view);
  const LanguageModel::Projected projected = model_.Qkv(layer, x, rows, positions, nullptr);
  Scatter(projected.k, projected.stride, cache_->shape(), prompt.view, prompt.view.k);
  Scatter(projected.v, projected.stride, cache_->shape(), prompt.view, prompt.view.v);
  PrefillAttentionArgs args{};
  args.heads = config.heads;
  args.kv_heads = config.kv_heads;
  args.head_dim = config.head_dim;
  args.scale = config.attention_scale();
  args.q = projected.q;
  args.q_stride = projected.stride;
  args.k = prompt.view.k;
  args.v = prompt.view.v;
  args.kv_head_stride = prompt.view.capacity * config.head_dim;
  args.rows = rows;
  args.first_key = prompt.view.old_entries;
  args.out = out.data();
  args.out_stride = config.q_width();
  args.column_sums = prompt.view.score;
  args.column_stride = prompt.view.capacity;
  PrefillAttention(args, workspace_);
  model_.AfterAttention(layer, out.data(), rows, nullptr, x);
  Check(cache_->FoldLayer(layer, prompt.view).status());
}

std::vector<float> CpuSession::Decode(int32_t id) {
  const LanguageConfig& config = model_.config();
  std::vector<float> x = Floats(config.hidden);
  model_.Embed(std::span(&id, 1), x.data());
  const auto position = static_cast<int32_t>(cache_->next_position());
  for (int layer = 0; layer < config.layers; ++layer) DecodeLayer(layer, position, x.data());
  cache_->CommitToken();
  std::vector<float> logits = Floats(config.vocab);
  model_.Logits(x.data(), 1, logits.data());
  return logits;
}

void CpuSession::DecodeLayer(int layer, int32_t position, float* x) {
  const LanguageConfig& config = model_.config();
  std::vector<float> out = Floats(config.q_width());
  const LanguageModel::Projected projected = model_.Qkv(layer, x, 1, &position, nullptr);
  Check(cache_->AppendToken(layer, projected.k, projected.v));
  const int64_t group = config.heads / config.kv_heads;
  std::vector<DecodeItem> items;
  for (int head = 0; head < config.kv_heads; ++head) {
    const int64_t at = head * group * config.head_dim;
    items.push_back({.head = {.pages = cache_->PagePointers(layer, head),
                              .entries = cache_->EntriesIn(layer, head),
                              .entries_per_page = cache_->layout().entries_per_page()},
                     .q = projected.q + at,
                     .group = group,
                     .out = out.data() + at,
                     .score_sums = cache_->LiveScores(layer, head)});
  }
  const PageLayout layout{.head_dim = config.head_dim,
                          .k_offset = cache_->layout().k_offset(),
                          .v_offset = cache_->layout().v_offset()};
  DecodeAttention(items, layout, config.attention_scale(), workspace_);
  model_.AfterAttention(layer, out.data(), 1, nullptr, x);
  cache_->EvictLayer(layer);
}

CpuSession::HeadEntries CpuSession::Contents(int layer, int head) {
  const HeadCache& held = std::as_const(*cache_).Head(layer, head);
  HeadEntries entries;
  std::vector<float> vector = Floats(model_.config().head_dim);
  for (const int32_t slot : held.SlotsInBirthOrder()) {
    const EntryMeta meta = held.Meta(slot);
    entries.births.push_back(meta.birth);
    entries.masses.push_back(meta.mass);
    entries.scores.push_back(cache_->LiveScores(layer, head)[slot]);
    held.LoadKey(slot, vector.data());
    entries.k.insert(entries.k.end(), vector.begin(), vector.end());
    held.LoadValue(slot, vector.data());
    entries.v.insert(entries.v.end(), vector.begin(), vector.end());
  }
  return entries;
}

}  // namespace concertina::testing
