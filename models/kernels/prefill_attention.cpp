#include "models/kernels/prefill_attention.h"

#include <algorithm>
#include <cstring>

#include "models/kernels/isa.h"
#include "models/kernels/parallel.h"

namespace concertina {
namespace {

constexpr int64_t kTileRows = 16;
// Tiles whose column sums are held before they are added up: bounds the memory of long prompts.
constexpr int64_t kTilesPerRound = 32;

enum Slot : size_t { kKeySlot, kValueSlot, kTileSlot, kSumSlot, kHeadSumSlot };

int64_t RoundUp(int64_t a, int64_t multiple) { return (a + multiple - 1) / multiple * multiple; }

size_t FloatBytes(int64_t count) { return static_cast<size_t>(count) * sizeof(float); }

// One call. Per (tile of 16 rows, key head): scores of all query heads of the group against the
// visible keys, softmax in place, times V.
class Prefill {
 public:
  Prefill(const PrefillAttentionArgs& args, Workspace& workspace)
      : a_(args),
        isa_(isa::Active()),
        keys_(args.first_key + args.rows),
        group_(args.heads / args.kv_heads),
        d_(args.head_dim),
        padded_d_(RoundUp(args.head_dim, isa_.panel_columns)),
        padded_keys_(RoundUp(keys_, isa_.panel_columns)),
        // 16 floats more than a multiple of 32: rows a power of two apart would share cache sets.
        score_row_(padded_keys_ + 16),
        kv_row_(args.kv_row_stride == 0 ? args.head_dim : args.kv_row_stride) {
    key_panels_ = workspace.Floats(kKeySlot, a_.kv_heads * padded_keys_ * d_);
    if (padded_d_ != d_) values_ = workspace.Floats(kValueSlot, a_.kv_heads * keys_ * padded_d_);
    tile_floats_ = RoundUp(kTileRows * group_ * (score_row_ + d_ + 1), 16);
    tiles_ = workspace.Floats(kTileSlot, tile_floats_ * Threads());
    if (a_.column_sums != nullptr) {
      sums_ = workspace.Floats(kSumSlot, kTilesPerRound * a_.kv_heads * padded_keys_);
    }
    if (a_.per_query_head_sums != nullptr) {
      head_sums_ = workspace.Floats(kHeadSumSlot, kTilesPerRound * a_.heads * padded_keys_);
    }
  }

  void Run() {
    LayOutKeys();
    if (values_ != nullptr) LayOutValues();
    const int64_t tiles = (a_.rows + kTileRows - 1) / kTileRows;
    for (int64_t first = 0; first < tiles; first += kTilesPerRound) {
      const int64_t count = std::min(kTilesPerRound, tiles - first);
      ParallelTasks(count * a_.kv_heads, [&](int worker, int64_t task) {
        // Late tiles see more keys: start with them, so that no thread is left with one at the end.
        RunTile(worker, first, count - 1 - task / a_.kv_heads, task % a_.kv_heads);
      });
      AddSums(first, count, sums_, a_.kv_heads, 1.0f / static_cast<float>(group_), a_.column_sums,
              a_.column_stride);
      AddSums(first, count, head_sums_, a_.heads, 1.0f, a_.per_query_head_sums,
              a_.per_query_head_stride);
    }
  }

 private:
  int64_t VisibleTo(int64_t row) const { return a_.causal ? a_.first_key + row + 1 : keys_; }
  int64_t TileEnd(int64_t tile) const { return std::min(a_.rows, (tile + 1) * kTileRows); }

  // Keys as [key head][panel][head_dim][column], zeros after the last key.
  void LayOutKeys() {
    const int64_t columns = isa_.panel_columns;
    const int64_t panels = padded_keys_ / columns;
    ParallelFor(0, a_.kv_heads * panels, 8, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t first = task % panels * columns;
        const int64_t count = std::min(columns, keys_ - first);
        const float* from = a_.k + task / panels * a_.kv_head_stride + first * kv_row_;
        float* to = key_panels_ + task * columns * d_;
        for (int64_t i = 0; i < d_; ++i) {
          for (int64_t j = 0; j < count; ++j) to[i * columns + j] = from[j * kv_row_ + i];
          for (int64_t j = count; j < columns; ++j) to[i * columns + j] = 0.0f;
        }
      }
    });
  }

  // Values as [key head][key][padded_d], for head sizes that do not fill whole panels.
  void LayOutValues() {
    ParallelFor(0, a_.kv_heads * keys_, 512, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const float* from = a_.v + task / keys_ * a_.kv_head_stride + task % keys_ * kv_row_;
        float* to = values_ + task * padded_d_;
        std::memcpy(to, from, FloatBytes(d_));
        std::memset(to + d_, 0, FloatBytes(padded_d_ - d_));
      }
    });
  }

  // Rows of a tile are ordered [row][query head of the group].
  void RunTile(int worker, int64_t first, int64_t index, int64_t kv_head) {
    const int64_t begin = (first + index) * kTileRows;
    const int64_t end = TileEnd(first + index);
    const int64_t rows = (end - begin) * group_;
    float* scores = tiles_ + worker * tile_floats_;
    float* q = scores + kTileRows * group_ * score_row_;
    float* inverse = q + kTileRows * group_ * d_;
    for (int64_t r = begin; r < end; ++r) {
      std::memcpy(q + (r - begin) * group_ * d_, a_.q + r * a_.q_stride + kv_head * group_ * d_,
                  FloatBytes(group_ * d_));
    }
    const int64_t visible = VisibleTo(end - 1);
    Score(q, rows, visible, kv_head, scores);
    const float* bias =
        a_.key_bias == nullptr ? nullptr : a_.key_bias + kv_head * a_.key_bias_stride;
    const int64_t padded = RoundUp(visible, isa_.lanes);
    for (int64_t i = 0; i < rows; ++i) {
      inverse[i] = 1.0f / isa_.softmax(scores + i * score_row_, VisibleTo(begin + i / group_),
                                       padded, a_.scale, bias);
    }
    SumColumns(scores, inverse, rows, visible, index, kv_head);
    // The queries are no longer needed: their place takes the unnormalised output.
    WeighValues(scores, rows, visible, kv_head, q);
    for (int64_t i = 0; i < rows; ++i) {
      isa_.scale(q + i * d_, inverse[i], d_);
      std::memcpy(
          a_.out + (begin + i / group_) * a_.out_stride + (kv_head * group_ + i % group_) * d_,
          q + i * d_, FloatBytes(d_));
    }
  }

  void Score(const float* q, int64_t rows, int64_t visible, int64_t kv_head, float* scores) {
    const int64_t columns = isa_.panel_columns;
    for (int64_t first = 0; first < visible; first += columns) {
      const float* panel = key_panels_ + (kv_head * padded_keys_ + first) * d_;
      for (int64_t i = 0; i < rows; i += isa_.tile_rows) {
        isa_.gemm_tile({.a = q + i * d_,
                        .a_row = d_,
                        .a_step = 1,
                        .b = panel,
                        .b_step = columns,
                        .k = d_,
                        .rows = std::min(isa_.tile_rows, rows - i),
                        .columns = columns,
                        .c = scores + i * score_row_ + first,
                        .c_row = score_row_,
                        .accumulate = false,
                        .bias = nullptr});
      }
    }
  }

  void WeighValues(const float* p, int64_t rows, int64_t visible, int64_t kv_head, float* out) {
    const int64_t columns = isa_.panel_columns;
    const bool copied = values_ != nullptr;
    const float* v =
        copied ? values_ + kv_head * keys_ * padded_d_ : a_.v + kv_head * a_.kv_head_stride;
    for (int64_t first = 0; first < d_; first += columns) {
      for (int64_t i = 0; i < rows; i += isa_.tile_rows) {
        isa_.gemm_tile({.a = p + i * score_row_,
                        .a_row = score_row_,
                        .a_step = 1,
                        .b = v + first,
                        .b_step = copied ? padded_d_ : kv_row_,
                        .k = visible,
                        .rows = std::min(isa_.tile_rows, rows - i),
                        .columns = std::min(columns, d_ - first),
                        .c = out + i * d_ + first,
                        .c_row = d_,
                        .accumulate = false,
                        .bias = nullptr});
      }
    }
  }

  // This tile's own sums, one chain per key over rows and query heads in order.
  void SumColumns(const float* p, const float* inverse, int64_t rows, int64_t visible,
                  int64_t index, int64_t kv_head) {
    if (sums_ != nullptr) {
      float* sum = sums_ + (index * a_.kv_heads + kv_head) * padded_keys_;
      std::memset(sum, 0, FloatBytes(visible));
      for (int64_t i = 0; i < rows; ++i) {
        isa_.add_scaled(p + i * score_row_, inverse[i], visible, sum);
      }
    }
    if (head_sums_ != nullptr) {
      float* sums = head_sums_ + (index * a_.heads + kv_head * group_) * padded_keys_;
      for (int64_t g = 0; g < group_; ++g) {
        std::memset(sums + g * padded_keys_, 0, FloatBytes(visible));
      }
      for (int64_t i = 0; i < rows; ++i) {
        isa_.add_scaled(p + i * score_row_, inverse[i], visible, sums + i % group_ * padded_keys_);
      }
    }
  }

  // total[head][key] += factor * the tiles' sums, in tile order.
  void AddSums(int64_t first, int64_t count, const float* sums, int64_t heads, float factor,
               float* total, int64_t stride) {
    if (total == nullptr) return;
    ParallelFor(0, heads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t head = begin; head < end; ++head) {
        for (int64_t index = 0; index < count; ++index) {
          isa_.add_scaled(sums + (index * heads + head) * padded_keys_, factor,
                          VisibleTo(TileEnd(first + index) - 1), total + head * stride);
        }
      }
    });
  }

  const PrefillAttentionArgs& a_;
  const isa::Kernels& isa_;
  const int64_t keys_;
  const int64_t group_;
  const int64_t d_;
  const int64_t padded_d_;
  const int64_t padded_keys_;
  const int64_t score_row_;
  const int64_t kv_row_;
  float* key_panels_ = nullptr;
  float* values_ = nullptr;
  float* tiles_ = nullptr;
  int64_t tile_floats_ = 0;
  float* sums_ = nullptr;
  float* head_sums_ = nullptr;
};

}  // namespace

void PrefillAttention(const PrefillAttentionArgs& args, Workspace& workspace) {
  if (args.rows > 0) Prefill(args, workspace).Run();
}

}  // namespace concertina
