#include <algorithm>
#include <cstring>

#include "models/kernels/parallel.h"
#include "models/kernels/prefill_internal.h"

namespace concertina {
namespace {

size_t FloatBytes(int64_t count) { return static_cast<size_t>(count) * sizeof(float); }

// One call. Per (tile of 16 rows, key head): scores of all query heads of the group against the
// visible keys, softmax in place, times V.
class Prefill {
 public:
  Prefill(const PrefillAttentionArgs& args, const PackedKeys& keys, Workspace& workspace)
      : a_(args),
        tiles_(args),
        packed_(keys),
        isa_(isa::Active()),
        group_(args.heads / args.kv_heads),
        d_(args.head_dim),
        padded_keys_(RoundUp(tiles_.keys(), isa_.panel_columns)),
        score_row_(F32ScoreRow(padded_keys_)),
        kv_row_(args.kv_row_stride == 0 ? args.head_dim : args.kv_row_stride) {
    tile_floats_ = F32PrefillScratch(group_, d_, score_row_);
    scratch_ = workspace.Floats(kTileSlot, tile_floats_ * Threads());
    if (a_.column_sums != nullptr) {
      sums_ = workspace.Floats(kSumSlot, kPrefillTilesPerRound * a_.kv_heads * padded_keys_);
    }
    if (a_.per_query_head_sums != nullptr) {
      head_sums_ = workspace.Floats(kHeadSumSlot, kPrefillTilesPerRound * a_.heads * padded_keys_);
    }
  }

  void Run() {
    for (int64_t first = 0; first < tiles_.count(); first += kPrefillTilesPerRound) {
      const int64_t count = std::min(kPrefillTilesPerRound, tiles_.count() - first);
      ParallelTasks(count * a_.kv_heads, [&](int worker, int64_t task) {
        // Late tiles see more keys: start with them, so that no thread is left with one at the end.
        RunTile(worker, first, count - 1 - task / a_.kv_heads, task % a_.kv_heads);
      });
      tiles_.AddSums(first, count, sums_, padded_keys_, a_.kv_heads,
                     1.0f / static_cast<float>(group_), a_.column_sums, a_.column_stride);
      tiles_.AddSums(first, count, head_sums_, padded_keys_, a_.heads, 1.0f, a_.per_query_head_sums,
                     a_.per_query_head_stride);
    }
  }

 private:
  // Rows of a tile are ordered [row][query head of the group].
  void RunTile(int worker, int64_t first, int64_t index, int64_t kv_head) {
    const int64_t begin = tiles_.Begin(first + index);
    const int64_t end = tiles_.End(first + index);
    const int64_t rows = (end - begin) * group_;
    float* scores = scratch_ + worker * tile_floats_;
    float* q = scores + kPrefillTileRows * group_ * score_row_;
    float* inverse = q + kPrefillTileRows * group_ * d_;
    for (int64_t r = begin; r < end; ++r) {
      std::memcpy(q + (r - begin) * group_ * d_, a_.q + r * a_.q_stride + kv_head * group_ * d_,
                  FloatBytes(group_ * d_));
    }
    const int64_t visible = tiles_.SeenBy(end - 1);
    Score(q, rows, visible, kv_head, scores);
    const float* bias =
        a_.key_bias == nullptr ? nullptr : a_.key_bias + kv_head * a_.key_bias_stride;
    const int64_t padded = RoundUp(visible, isa_.lanes);
    for (int64_t i = 0; i < rows; ++i) {
      inverse[i] = 1.0f / isa_.softmax(scores + i * score_row_, tiles_.SeenBy(begin + i / group_),
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
      const float* panel = packed_.KeyPanels(kv_head) + first * d_;
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
    const float* padded = packed_.PaddedValues(kv_head);
    const float* v = padded != nullptr ? padded : a_.v + kv_head * a_.kv_head_stride;
    for (int64_t first = 0; first < d_; first += columns) {
      for (int64_t i = 0; i < rows; i += isa_.tile_rows) {
        isa_.gemm_tile({.a = p + i * score_row_,
                        .a_row = score_row_,
                        .a_step = 1,
                        .b = v + first,
                        .b_step = padded != nullptr ? packed_.padded_head_dim() : kv_row_,
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

  const PrefillAttentionArgs& a_;
  const PrefillTiles tiles_;
  const PackedKeys& packed_;
  const isa::Kernels& isa_;
  const int64_t group_;
  const int64_t d_;
  const int64_t padded_keys_;
  const int64_t score_row_;
  const int64_t kv_row_;
  float* scratch_ = nullptr;
  int64_t tile_floats_ = 0;
  float* sums_ = nullptr;
  float* head_sums_ = nullptr;
};

}  // namespace

int64_t F32PrefillScratch(int64_t group, int64_t head_dim, int64_t score_row) {
  return RoundUp(kPrefillTileRows * group * (score_row + head_dim + 1), 16);
}

void PrefillF32(const PrefillAttentionArgs& args, const PackedKeys& keys, Workspace& workspace) {
  Prefill(args, keys, workspace).Run();
}

}  // namespace concertina
