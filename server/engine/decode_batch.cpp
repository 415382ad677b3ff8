#include "server/engine/decode_batch.h"

#include <algorithm>
#include <cstring>

#include "cache/session_cache.h"
#include "server/engine/decode_items.h"

namespace concertina {
namespace {

SessionCache& CacheOf(const DecodeRow& row) { return static_cast<SessionCache&>(*row.cache); }

}  // namespace

void DecodeBatch::Run(std::span<DecodeRow> rows) {
  Embed(rows);
  for (int32_t layer = 0; layer < language_.config().layers; ++layer) Layer(layer, rows);
  for (DecodeRow& row : rows) {
    if (row.status.ok()) CacheOf(row).CommitToken();
  }
  Logits(rows);
}

void DecodeBatch::Embed(std::span<DecodeRow> rows) {
  const auto n = static_cast<int64_t>(rows.size());
  ids_.clear();
  int32_t* positions = Grow(buffers_.positions, n);
  float* adapter = Grow(buffers_.adapter, n);
  for (int64_t i = 0; i < n; ++i) {
    ids_.push_back(rows[i].token);
    positions[i] = static_cast<int32_t>(CacheOf(rows[i]).next_position());
    adapter[i] = rows[i].adapter ? 1.0f : 0.0f;
  }
  language_.Embed(ids_, Grow(buffers_.hidden, n * language_.config().hidden));
}

void DecodeBatch::Layer(int32_t layer, std::span<DecodeRow> rows) {
  const LanguageConfig& config = language_.config();
  const auto n = static_cast<int64_t>(rows.size());
  const int64_t q_width = int64_t{config.heads} * config.head_dim;
  Grow(buffers_.attention, n * q_width);
  const LanguageModel::Projected projected = language_.Qkv(
      layer, buffers_.hidden.data(), n, buffers_.positions.data(), buffers_.adapter.data());
  for (int64_t i = 0; i < n; ++i) {
    DecodeRow& row = rows[i];
    if (!row.status.ok()) continue;
    SessionCache& cache = CacheOf(row);
    row.status = cache.AppendToken(layer, projected.k + i * projected.stride,
                                   projected.v + i * projected.stride);
    if (!row.status.ok()) cache.AbandonToken();
  }
  Attend(layer, projected, rows);
  language_.AfterAttention(layer, buffers_.attention.data(), n, buffers_.adapter.data(),
                           buffers_.hidden.data());
}

void DecodeBatch::Attend(int32_t layer, const LanguageModel::Projected& projected,
                         std::span<DecodeRow> rows) {
  for (const EntryType type : {EntryType::kF32, EntryType::kBf16, EntryType::kInt8}) {
    items_.clear();
    places_.clear();
    PageLayout layout{};
    for (size_t i = 0; i < rows.size(); ++i) {
      SessionCache& cache = CacheOf(rows[i]);
      if (!rows[i].status.ok() || cache.layout().type() != type) continue;
      layout = PageLayoutOf(cache.layout());
      AddItems(layer, projected, i, cache);
      cache.BeginEviction(layer);
    }
    if (items_.empty()) continue;
    DecodeAttention(items_, layout, language_.config().attention_scale(), buffers_.workspace,
                    [&](int64_t item) {
                      Place& place = places_[item];
                      place.evicted = CacheOf(rows[place.row]).EvictHead(layer, place.head);
                    });
    for (const Place& place : places_) rows[place.row].evicted += place.evicted;
  }
}

void DecodeBatch::AddItems(int32_t layer, const LanguageModel::Projected& projected, size_t row,
                           SessionCache& cache) {
  const LanguageConfig& config = language_.config();
  const int64_t group = config.heads / config.kv_heads;
  const int64_t head_stride = group * config.head_dim;
  const auto at = static_cast<int64_t>(row);
  float* out = buffers_.attention.data() + at * config.heads * config.head_dim;
  for (int32_t head = 0; head < config.kv_heads; ++head) {
    DecodeItem item = DecodeItemOf(cache, layer, head);
    item.q = projected.q + at * projected.stride + head * head_stride;
    item.group = group;
    item.out = out + head * head_stride;
    items_.push_back(item);
    places_.push_back({.row = row, .head = head, .evicted = 0});
  }
}

void DecodeBatch::Logits(std::span<DecodeRow> rows) {
  const LanguageConfig& config = language_.config();
  // Rows that need no logits are skipped by packing the others together.
  int64_t wanted = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!rows[i].wants_logits || !rows[i].status.ok()) continue;
    std::memmove(buffers_.hidden.data() + wanted * config.hidden,
                 buffers_.hidden.data() + static_cast<int64_t>(i) * config.hidden,
                 config.hidden * sizeof(float));
    ++wanted;
  }
  if (wanted == 0) return;
  float* logits = Grow(buffers_.logits, wanted * config.vocab);
  language_.Logits(buffers_.hidden.data(), wanted, logits);
  for (DecodeRow& row : rows) {
    if (!row.wants_logits || !row.status.ok()) continue;
    row.logits = logits;
    logits += config.vocab;
  }
}

}  // namespace concertina
