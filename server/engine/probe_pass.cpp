#include "server/engine/probe_pass.h"

#include <algorithm>
#include <utility>

#include "models/kernels/prefill_attention.h"

namespace concertina {

ProbePass::ProbePass(const LanguageModel& language, const SessionCache& cache,
                     std::vector<float> embeddings, int64_t position, bool adapter,
                     StepBuffers& buffers)
    : PromptPass(language.config().layers,
                 static_cast<int32_t>(embeddings.size() / language.config().hidden)),
      language_(language),
      cache_(cache),
      buffers_(buffers),
      heads_(language.config().heads),
      kv_heads_(language.config().kv_heads),
      head_dim_(language.config().head_dim),
      width_(language.config().hidden),
      first_birth_(cache.seen() - tokens_),
      hidden_(std::move(embeddings)) {
  for (int32_t i = 0; i < tokens_; ++i) positions_.push_back(static_cast<int32_t>(position + i));
  if (adapter) adapter_.assign(tokens_, 1.0f);
}

absl::Status ProbePass::Begin() {
  for (int32_t layer = 0; layer < layers_; ++layer) {
    capacity_ = std::max<int64_t>(capacity_, cache_.OldEntries(layer) + 1);
  }
  const bool exact = cache_.layout().type() == EntryType::kF32;
  shape_ = {.precision = exact ? AttentionPrecision::kF32 : AttentionPrecision::kBf16,
            .kv_heads = 1,
            .head_dim = head_dim_,
            .capacity = capacity_};
  constexpr int64_t kAlignedFloats = 16;
  packed_floats_ =
      (PackedKeys::FloatsFor(shape_) + kAlignedFloats - 1) / kAlignedFloats * kAlignedFloats;
  packed_memory_ = AlignedBuffer(static_cast<size_t>(kv_heads_ * packed_floats_) * sizeof(float));
  Grow(k_, kv_heads_ * capacity_ * head_dim_);
  Grow(v_, kv_heads_ * capacity_ * head_dim_);
  if (cache_.weighs_mass()) Grow(bias_, kv_heads_ * capacity_);
  seen_.resize(kv_heads_);
  return absl::OkStatus();
}

absl::StatusOr<bool> ProbePass::Step(int32_t most_rows) {
  if (row_ == 0) BeginLayer();
  const int32_t rows = std::min(most_rows, tokens_ - row_);
  const float* adapter = adapter_.empty() ? nullptr : adapter_.data() + row_;
  float* hidden = hidden_.data() + int64_t{row_} * width_;
  Attend(language_.Qkv(layer_, hidden, rows, positions_.data() + row_, adapter), rows);
  language_.AfterAttention(layer_, buffers_.attention.data(), rows, adapter, hidden);
  row_ += rows;
  if (row_ < tokens_) return false;
  row_ = 0;
  ++layer_;
  return finished();
}

void ProbePass::BeginLayer() {
  for (int32_t head = 0; head < kv_heads_; ++head) {
    Seen& seen = seen_[head];
    seen.slots = cache_.Head(layer_, head).SlotsInBirthOrder();
    seen.loaded = 0;
    seen.packed = PackedKeys(shape_, packed_memory_.floats() + head * packed_floats_);
  }
}

void ProbePass::Attend(const LanguageModel::Projected& projected, int32_t rows) {
  Grow(buffers_.attention, rows * int64_t{heads_} * head_dim_);
  for (int32_t head = 0; head < kv_heads_; ++head) {
    for (int32_t i = 0; i < rows; ++i) AttendRow(projected, i, head);
  }
}

int32_t ProbePass::LoadUpTo(uint32_t birth, const float* k, const float* v, int32_t head) {
  const HeadCache& cache = cache_.Head(layer_, head);
  Seen& seen = seen_[head];
  float* keys = k_.data() + head * capacity_ * head_dim_;
  float* values = v_.data() + head * capacity_ * head_dim_;
  bool own = false;
  for (; seen.loaded < static_cast<int32_t>(seen.slots.size()); ++seen.loaded) {
    const int32_t slot = seen.slots[seen.loaded];
    const EntryMeta meta = cache.Meta(slot);
    if (meta.birth > birth) break;
    if (!bias_.empty()) bias_[head * capacity_ + seen.loaded] = LogMass(meta.mass);
    cache.LoadKey(slot, keys + int64_t{seen.loaded} * head_dim_);
    cache.LoadValue(slot, values + int64_t{seen.loaded} * head_dim_);
    own = meta.birth == birth;
  }
  if (own) return seen.loaded;
  // In the next entry's place: that is loaded for a later row, if at all.
  std::copy_n(k, head_dim_, keys + int64_t{seen.loaded} * head_dim_);
  std::copy_n(v, head_dim_, values + int64_t{seen.loaded} * head_dim_);
  if (!bias_.empty()) bias_[head * capacity_ + seen.loaded] = 0.0f;
  return seen.loaded + 1;
}

void ProbePass::AttendRow(const LanguageModel::Projected& projected, int32_t i, int32_t head) {
  const int64_t group = heads_ / kv_heads_;
  const int64_t row = i * projected.stride;
  const int64_t own = row + int64_t{head} * head_dim_;
  const auto birth = static_cast<uint32_t>(first_birth_ + row_ + i);
  const int32_t keys = LoadUpTo(birth, projected.k + own, projected.v + own, head);
  Seen& seen = seen_[head];
  const float* k = k_.data() + head * capacity_ * head_dim_;
  const float* v = v_.data() + head * capacity_ * head_dim_;
  const auto append = [&](PackedKeys* packed, int64_t end) {
    const int64_t from = packed->keys() * head_dim_;
    packed->Append(k + from, v + from, end - packed->keys(), capacity_ * head_dim_, head_dim_);
  };
  append(&seen.packed, seen.loaded / 2 * 2);
  PackedKeys packed =
      seen.packed;  // what is appended to the copy is appended again by the next row
  append(&packed, keys);
  PrefillAttentionArgs args{};
  args.heads = group;
  args.kv_heads = 1;
  args.head_dim = head_dim_;
  args.scale = language_.config().attention_scale();
  args.q = projected.q + row + head * group * head_dim_;
  args.q_stride = projected.stride;
  args.packed = &packed;
  args.v = v;
  args.kv_head_stride = capacity_ * head_dim_;
  args.key_bias = bias_.empty() ? nullptr : bias_.data() + head * capacity_;
  args.rows = 1;
  args.first_key = keys - 1;
  args.out = buffers_.attention.data() + (int64_t{i} * heads_ + head * group) * head_dim_;
  args.out_stride = int64_t{heads_} * head_dim_;
  PrefillAttention(args, buffers_.workspace);
}

const float* ProbePass::last_hidden() const {
  return hidden_.data() + int64_t{tokens_ - 1} * width_;
}

int64_t ProbePass::bytes() const {
  const size_t floats =
      hidden_.capacity() + adapter_.capacity() + k_.capacity() + v_.capacity() + bias_.capacity();
  size_t integers = positions_.capacity();
  for (const Seen& seen : seen_) integers += seen.slots.capacity();
  return static_cast<int64_t>(floats * sizeof(float) + integers * sizeof(int32_t) +
                              packed_memory_.bytes());
}

}  // namespace concertina
