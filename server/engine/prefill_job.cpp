#include "server/engine/prefill_job.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "cache/precision/query_moments.h"
#include "models/kernels/parallel.h"

namespace concertina {
namespace {

// Added to a logit it leaves no probability, and is finite, as differences of logits must be.
constexpr float kHidden = -1e30f;

PackedKeys::Shape ShapeFor(const LanguageConfig& config, AttentionPrecision precision,
                           int64_t capacity) {
  return {.precision = precision,
          .kv_heads = config.kv_heads,
          .head_dim = config.head_dim,
          .capacity = capacity};
}

int32_t RoundUpToTile(int32_t rows) {
  return (rows + kPrefillSumRows - 1) / kPrefillSumRows * kPrefillSumRows;
}

}  // namespace

PrefillJob::PrefillJob(const LanguageModel& language, SessionCache& cache,
                       std::vector<float> embeddings, Options options, StepBuffers& buffers)
    : PromptPass(language.config().layers,
                 static_cast<int32_t>(embeddings.size() / language.config().hidden)),
      language_(language),
      cache_(cache),
      buffers_(buffers),
      options_(std::move(options)),
      heads_(language.config().heads),
      kv_heads_(language.config().kv_heads),
      head_dim_(language.config().head_dim),
      width_(language.config().hidden),
      prompt_rows_(tokens_),
      hidden_(std::move(embeddings)) {}

bool PrefillJob::Repeats() const {
  if (!options_.fold || options_.repeat_request.empty() || !cache_.repeats_prompts()) return false;
  int64_t before = cache_.next_position();  // positions, or entries where a rebase let some share
  for (int32_t layer = 0; layer < layers_; ++layer) {
    before = std::max<int64_t>(before, cache_.OldEntries(layer));
  }
  const auto request = static_cast<int64_t>(options_.repeat_request.size()) / width_;
  return before + 2 * int64_t{prompt_rows_} + request <= language_.config().max_positions;
}

void PrefillJob::AppendRepetition() {
  const auto request = static_cast<int32_t>(options_.repeat_request.size() / width_);
  tokens_ = 2 * prompt_rows_ + request;
  hidden_.resize(int64_t{tokens_} * width_);
  const auto prompt = hidden_.begin();
  const auto repeat = prompt + int64_t{prompt_rows_} * width_;
  std::copy(options_.repeat_request.begin(), options_.repeat_request.end(), repeat);
  std::copy(prompt, repeat, repeat + int64_t{request} * width_);
}

absl::Status PrefillJob::Begin() {
  if (Repeats()) AppendRepetition();
  positions_.resize(tokens_);
  for (int32_t i = 0; i < tokens_; ++i) {
    positions_[i] = static_cast<int32_t>(cache_.next_position() + i);
  }
  if (options_.adapter) adapter_.assign(tokens_, 1.0f);
  absl::Status begun = cache_.BeginPrefill(prompt_rows_, options_.pins, options_.pictures);
  if (!begun.ok()) return begun;
  if (options_.fold && cache_.measuring()) {
    embeddings_ = hidden_;
    reads_ = 2;
  }
  const bool repeats = tokens_ > prompt_rows_;
  const int64_t capacity = cache_.PrefillEntries() + tokens_ - prompt_rows_;
  prompt_.capacity = capacity;
  prompt_.k = Grow(k_, kv_heads_ * capacity * head_dim_);
  prompt_.v = Grow(v_, kv_heads_ * capacity * head_dim_);
  prompt_.score = Grow(score_, kv_heads_ * capacity);
  prompt_.repeated = repeats ? Grow(repeated_, kv_heads_ * capacity) : nullptr;
  const int64_t moments = int64_t{kv_heads_} * head_dim_ * head_dim_;
  prompt_.query_moments = options_.fold && cache_.packs() ? Grow(query_moments_, moments) : nullptr;
  prompt_.birth = Grow(birth_, kv_heads_ * capacity);
  prompt_.mass = Grow(mass_, kv_heads_ * capacity);
  const bool exact = cache_.layout().type() == EntryType::kF32;
  packed_shape_ = ShapeFor(language_.config(),
                           exact ? AttentionPrecision::kF32 : AttentionPrecision::kBf16, capacity);
  packed_memory_ =
      AlignedBuffer(static_cast<size_t>(PackedKeys::FloatsFor(packed_shape_)) * sizeof(float));
  return absl::OkStatus();
}

absl::StatusOr<bool> PrefillJob::Step(int32_t most_rows) {
  if (row_ == 0) BeginLayer();
  const int32_t rows = std::min(most_rows, tokens_ - row_);
  const float* adapter = options_.adapter ? adapter_.data() + row_ : nullptr;
  const LanguageModel::Projected projected = language_.Qkv(
      layer_, hidden_.data() + int64_t{row_} * width_, rows, positions_.data() + row_, adapter);
  StoreKeysAndValues(projected, rows);
  if (prompt_.query_moments != nullptr) AddMoments(projected, rows);
  Attend(projected, rows);
  Advance(rows);
  row_ += rows;
  if (row_ < tokens_) return false;
  if (absl::Status status = FinishLayer(); !status.ok()) return status;
  row_ = 0;
  ++layer_;
  if (layer_ < layers_) return false;
  if (!embeddings_.empty()) {  // the layers were measured; now for the prompt itself
    hidden_ = std::exchange(embeddings_, {});
    layer_ = 0;
    ++read_;
    return false;
  }
  if (options_.fold) cache_.CommitPrefill();
  return true;
}

void PrefillJob::BeginLayer() {
  cache_.LoadLayer(layer_, &prompt_);
  packed_ = PackedKeys(packed_shape_, packed_memory_.floats());
  packed_.Append(prompt_.k, prompt_.v, prompt_.old_entries, prompt_.capacity * head_dim_,
                 head_dim_);
  SetBias();
}

void PrefillJob::SetBias() {
  biased_ = !prompt_.first.empty();
  if (!biased_ && !cache_.weighs_mass()) return;
  bias_.assign(mass_.size(), 0.0f);
  for (int32_t head = 0; head < kv_heads_; ++head) {
    const int64_t row = head * prompt_.capacity;
    std::fill_n(bias_.begin() + row, prompt_.First(head), kHidden);
    for (int64_t at = row + prompt_.First(head); at < row + prompt_.old_entries; ++at) {
      if (prompt_.mass[at] <= 1 || !cache_.weighs_mass()) continue;
      bias_[at] = LogMass(prompt_.mass[at]);
      biased_ = true;
    }
  }
}

void PrefillJob::StoreKeysAndValues(const LanguageModel::Projected& projected, int32_t rows) {
  packed_.Append(projected.k, projected.v, rows, head_dim_, projected.stride);
  // Folding works on what was computed, not on what was rounded; f32 values are read in place.
  if (options_.fold || !packed_.bf16()) ScatterKeysAndValues(projected, rows);
}

void PrefillJob::ScatterKeysAndValues(const LanguageModel::Projected& projected, int32_t rows) {
  const size_t row_bytes = head_dim_ * sizeof(float);
  for (int32_t head = 0; head < kv_heads_; ++head) {
    const int64_t first = head * prompt_.capacity + prompt_.old_entries + row_;
    for (int32_t i = 0; i < rows; ++i) {
      const int64_t from = i * projected.stride + int64_t{head} * head_dim_;
      const int64_t to = (first + i) * head_dim_;
      std::memcpy(prompt_.k + to, projected.k + from, row_bytes);
      std::memcpy(prompt_.v + to, projected.v + from, row_bytes);
    }
  }
}

void PrefillJob::AddMoments(const LanguageModel::Projected& projected, int32_t rows) {
  const int32_t step = QueryMomentStep(prompt_rows_);
  for (int32_t i = 0; i < rows && row_ + i < prompt_rows_; ++i) {
    if ((row_ + i) % step != 0) continue;
    AddQueryMoments(projected.q + i * projected.stride, heads_, kv_heads_, head_dim_,
                    prompt_.query_moments);
  }
}

void PrefillJob::Attend(const LanguageModel::Projected& projected, int32_t rows) {
  const int64_t width = int64_t{heads_} * head_dim_;
  PrefillAttentionArgs args{};
  args.heads = heads_;
  args.kv_heads = kv_heads_;
  args.head_dim = head_dim_;
  args.scale = language_.config().attention_scale();
  args.q = projected.q;
  args.q_stride = projected.stride;
  args.packed = &packed_;
  args.v = prompt_.v;
  args.kv_head_stride = prompt_.capacity * head_dim_;
  args.key_bias = biased_ ? bias_.data() : nullptr;
  args.key_bias_stride = prompt_.capacity;
  args.rows = rows;
  args.first_key = prompt_.old_entries + row_;
  args.out = Grow(buffers_.attention, rows * width);
  args.out_stride = width;
  if (!options_.fold || !cache_.policy().needs_scores()) {
    PrefillAttention(args, buffers_.workspace);
    return;
  }
  const int32_t window = cache_.policy().score_window();
  const int32_t own = std::clamp(prompt_rows_ - row_, 0, rows);
  const int32_t counted = window == 0 ? 0 : std::clamp(prompt_rows_ - window - row_, 0, own);
  AttendRows(args, 0, counted, nullptr);  // only the window's are summed
  AttendTiles(args, counted, own, prompt_.score);
  AttendTiles(args, own, rows, prompt_.repeated);
}

void PrefillJob::AttendTiles(const PrefillAttentionArgs& args, int32_t begin, int32_t end,
                             float* sums) {
  const int32_t tile = std::min(end, RoundUpToTile(begin));
  AttendRows(args, begin, tile, sums);
  AttendRows(args, tile, end, sums);
}

void PrefillJob::AttendRows(PrefillAttentionArgs args, int32_t begin, int32_t end, float* sums) {
  args.q += begin * args.q_stride;
  args.out += begin * args.out_stride;
  args.first_key += begin;
  args.rows = end - begin;
  args.column_sums = sums;
  args.column_stride = prompt_.capacity;
  PrefillAttention(args, buffers_.workspace);
}

void PrefillJob::Advance(int32_t rows) {
  // In the last layer only the prompt's last rows' output is used, unless every row is wanted.
  int32_t skip = 0;
  if (layer_ + 1 == layers_ && !options_.all_rows) {
    skip = std::max(0, prompt_rows_ - options_.last_rows - row_);
    rows = std::min(rows, prompt_rows_ - row_);
    if (skip >= rows) return;
  }
  const float* adapter = options_.adapter ? adapter_.data() + row_ + skip : nullptr;
  language_.AfterAttention(layer_, buffers_.attention.data() + int64_t{skip} * heads_ * head_dim_,
                           rows - skip, adapter, hidden_.data() + int64_t{row_ + skip} * width_);
}

absl::Status PrefillJob::FinishLayer() {
  if (!options_.fold) return absl::OkStatus();
  const auto begin = std::chrono::steady_clock::now();
  if (cache_.measuring()) return cache_.MeasureLayer(layer_, prompt_);
  auto report =
      cache_.FoldLayer(layer_, prompt_, [](int64_t tasks, absl::FunctionRef<void(int64_t)> task) {
        ParallelTasks(tasks, [&](int /*worker*/, int64_t i) { task(i); });
      });
  if (!report.ok()) return report.status();
  folds_.push_back(*report);
  fold_time_ += std::chrono::steady_clock::now() - begin;
  return absl::OkStatus();
}

const float* PrefillJob::last_hidden() const {
  return hidden_.data() + int64_t{prompt_rows_ - 1} * width_;
}

int64_t PrefillJob::bytes() const {
  const size_t floats = hidden_.capacity() + embeddings_.capacity() + k_.capacity() +
                        v_.capacity() + score_.capacity() + bias_.capacity() +
                        repeated_.capacity() + query_moments_.capacity() +
                        options_.repeat_request.capacity() + adapter_.capacity();
  const size_t metadata = positions_.capacity() * sizeof(int32_t) +
                          birth_.capacity() * sizeof(uint32_t) +
                          mass_.capacity() * sizeof(uint16_t);
  return static_cast<int64_t>(floats * sizeof(float) + metadata + packed_memory_.bytes());
}

int64_t PrefillJob::BytesBound(const LanguageConfig& config, int64_t positions) {
  // Twice the embeddings where the prompt is read twice to measure the layers. A repetition takes
  // less than that beside its own rows: the words that ask for it, and what it pays.
  const int64_t row = 2 * config.hidden * sizeof(float) + sizeof(float) + sizeof(int32_t);
  const int64_t entry =
      (2 * int64_t{config.head_dim} + 2) * sizeof(float) + sizeof(uint32_t) + sizeof(uint16_t);
  int64_t packed = 0;
  for (const auto precision : {AttentionPrecision::kF32, AttentionPrecision::kBf16}) {
    packed = std::max(packed, PackedKeys::FloatsFor(ShapeFor(config, precision, positions)));
  }
  const int64_t moments = int64_t{config.kv_heads} * config.head_dim * config.head_dim;
  constexpr int64_t kAlignment = 64;
  return positions * (row + config.kv_heads * entry) +
         moments * static_cast<int64_t>(sizeof(float)) +
         packed * static_cast<int64_t>(sizeof(float)) + kAlignment;
}

}  // namespace concertina
