#pragma once

#include <cstdint>

#include "models/kernels/kv_type.h"

// Inner loops compiled once per instruction set (isa_avx512_dot.cpp, isa_avx512.cpp, isa_avx2.cpp,
// isa_base.cpp) from
// the same text (*.inc) and chosen at run time. Only plain structs and function pointers cross this
// border: an inline function shared with a translation unit built for AVX-512 could be the copy the
// linker keeps, and would then crash older CPUs.

namespace concertina::isa {

// c[rows x columns] = (accumulate ? c : 0) + (a b + bias), with a(r, i) = a[r * a_row + i * a_step]
// and b(i, j) = b[i * b_step + j]. Each element is one chain over ascending i.
struct GemmTile {
  const float* a;
  int64_t a_row;
  int64_t a_step;
  const float* b;  // each of the k rows has panel_columns readable floats
  int64_t b_step;
  int64_t k;
  int64_t rows;     // 1 .. tile_rows
  int64_t columns;  // 1 .. panel_columns
  float* c;
  int64_t c_row;
  bool accumulate;
  const float* bias;  // null, or [columns]
};

// Where a panel's weights and their scales lie; see block_matrix.cpp.
enum class BlockLayout {
  kNibbles,        // f16 scales, 4-bit quants; the minimum is -centre * scale
  kNibblesMinima,  // f16 scales, f16 minima, 4-bit quants
  kBytes,          // f16 scales, 8-bit quants; the minimum is -centre * scale
  kBytesMinima,    // f16 scales, f16 minima, 8-bit quants
};

// c[rows x columns] = (accumulate ? c : 0) + (a b + bias) for rows quantised by quantize_row and
// weights scale * quant + minimum in blocks of 32.
struct BlockTile {
  BlockLayout layout;
  const uint8_t* panel;
  int64_t blocks;
  float centre;
  const int8_t* a;  // [rows][32 * blocks]
  int64_t a_row;
  const float* a_scales;  // [rows][blocks]
  const float* a_sums;    // [rows][blocks]: scale * sum of the quants
  int64_t scale_row;
  int64_t rows;     // 1 .. block_tile_rows
  int64_t columns;  // 1 .. panel_columns
  float* c;
  int64_t c_row;
  bool accumulate;
  const float* bias;  // null, or [columns]
  // Weights needed soon, brought into the L2 cache a part at every block; may be 0 bytes.
  const uint8_t* next = nullptr;
  int64_t next_bytes = 0;
};

// Keys or values of a page: rows from `offset` on, their scales (if they have any) at `scales`,
// `bytes` in all.
struct KvBlock {
  int64_t offset;
  int64_t scales;
  int64_t bytes;
};

// Addresses of the pages or groups of one chunk, and which of their bytes are read.
struct DecodePages {
  const uint8_t* const* first;
  const uint8_t* const* end;
  int64_t begin_bytes;
  int64_t end_bytes;
};

// The keys or the values of a group of 32 packed entries: offsets in the group, as GroupLayout
// (cache/precision/packed_group.h) has them.
struct PackedPart {
  int64_t bits;  // 2 .. 4
  int64_t tiles;
  int64_t tile_bytes;
  int64_t scales;
  int64_t zeros;
};

struct PackedLayout {
  int64_t head_dim;  // at most 32 * kPackedBlocksMax
  PackedPart key;
  PackedPart value;
};

// The depth of a product with packed codes, in blocks of 32.
constexpr int64_t kPackedBlocksMax = 8;

// A run of entries of one DecodeItem (decode_attention.h), as far as it goes without the others:
// scores become exp(score - highest), values their sum weighted with these. Either rows in pages,
// or packed groups of which each has 32 scores.
struct DecodeChunk {
  DecodePages pages;
  DecodePages next;    // of the chunk computed next, fetched meanwhile; empty: none
  int64_t first_slot;  // of the first entry in the first page
  int64_t count;       // entries, at least 1
  int64_t entries_per_page;
  int64_t head_dim;
  KvType type;
  KvBlock k;
  KvBlock v;
  const float* q;
  int64_t group;
  float scale;
  const float* bias;  // null, or [count]
  float* scores;      // [group][score_row], with room for `count` rounded up to a multiple of 4
  int64_t score_row;
  float* values;   // [group][head_dim]
  float* highest;  // [group] at distances of stat_row, as are sums
  float* sums;
  int64_t stat_row;
  const uint32_t* present;  // of each group, a bit for each entry; null: rows
  PackedLayout packed;      // of groups
};

// Slots of one DecodeItem in chunks of so many entries, but the last.
struct SlotRun {
  int64_t first_slot;
  int64_t entries;
  int64_t chunk_entries;
};

// All chunks of one DecodeItem, those of the first run first.
struct DecodeItemChunks {
  const SlotRun* runs;
  int64_t runs_count;
  int64_t chunks;
  int64_t head_dim;
  int64_t group;
  const float* scores;  // [group][score_row]
  int64_t score_row;
  const float* values;  // [chunks][group][head_dim]
  float* highest;       // [group][stat_row]: one per chunk; overwritten
  const float* sums;    // likewise
  int64_t stat_row;
  float* out;
  float* score_sums;  // null, or [slots]
};

// Products of queries and the keys of one group.
struct PackedScores {
  const PackedLayout* layout;
  const uint8_t* group;
  const float* q;  // [heads][head_dim]
  int64_t heads;
  float* scores;  // [heads][score_row]: 32 each are written
  int64_t score_row;
};

// Sums of the values of some groups, each entry's weighted.
struct PackedValues {
  const PackedLayout* layout;
  const uint8_t* const* groups;  // [groups_count]
  int64_t groups_count;          // 1 .. kPackedBlocksMax
  const float* weights;  // [heads][weight_row]: 32 a group, 0 for entries that are not there
  int64_t weight_row;
  int64_t heads;
  float* values;  // [heads][head_dim], overwritten
};

// Rows of a vector, keys of a block and vectors of a task of prefill attention in bf16.
constexpr int64_t kPrefillRows = 16;
constexpr int64_t kPrefillKeyBlock = 192;
constexpr int64_t kPrefillVecsMax = 4;

// Some vectors of up to 16 rows of a query head each, against the keys of one key head; see
// prefill_attention_bf16.cpp and packed_keys.h for the layouts of k and v.
struct PrefillTask {
  int64_t vecs;  // 1 .. kPrefillVecsMax
  const float* q[kPrefillVecsMax];
  float* out[kPrefillVecsMax];
  int64_t rows[kPrefillVecsMax];
  int64_t visible[kPrefillVecsMax];  // keys the first row sees
  float* sums[kPrefillVecsMax];      // null, or += column sums; all the same or all different
  int64_t q_stride;
  int64_t out_stride;
  int64_t growth;  // keys each row sees more than the one before
  const uint16_t* k;
  const uint16_t* v;
  const float* bias;  // null, or one per key
  int64_t head_dim;
  float scale;
  bool keep_p;        // sums are asked for: p and shifts of all blocks are kept
  float* q_packed;    // scratch [head_dim / 2][vecs][16 rows]
  float* scores;      // scratch [key of a block][vecs][16 rows]
  float* out_packed;  // scratch [head_dim][vecs][16 rows]
  uint16_t* p;        // scratch [pair of keys][vecs][16 rows][2], of a block or all
  float* shifts;      // scratch [blocks][vecs][16 rows]: what was taken off the scores
};

// Logits of which one maximum is kept.
constexpr int64_t kLogitRun = 64;

// Logits by their distance from the largest; see logit_bins.h.
struct LogitBinning {
  float divisor;
  float top;       // the largest, divided
  float below;     // divided: this and what is less belongs to no bin
  float per_unit;  // bins; finite
  int32_t bins;    // at most 65535
};

struct Kernels {
  const char* name;
  int64_t panel_columns;
  int64_t tile_rows;
  int64_t lanes;
  int64_t block_tile_rows;

  void (*gemm_tile)(const GemmTile& tile);

  // x [32 * blocks] to signed bytes of scale max|x| / 127 in every block, to nearest, ties to even.
  void (*quantize_row)(const float* x, int64_t blocks, int8_t* quants, float* scales, float* sums);
  void (*multiply_blocks)(const BlockTile& tile);

  // s[i] = exp(scale * s[i] + bias[i] - max) for i < count, 0 for count <= i < padded (a multiple
  // of lanes). Returns the sum.
  float (*softmax)(float* s, int64_t count, int64_t padded, float scale, const float* bias);
  // sum[i] += factor * p[i]
  void (*add_scaled)(const float* p, float factor, int64_t count, float* sum);
  // x[i] *= factor
  void (*scale)(float* x, float factor, int64_t count);
  void (*decode_chunk)(const DecodeChunk& chunk);
  // Fetches the pages of a chunk that no chunk before it has fetched.
  void (*fetch_chunk)(const DecodeChunk& chunk);
  void (*combine_chunks)(const DecodeItemChunks& item);
  void (*score_packed)(const PackedScores& task);
  void (*weigh_packed)(const PackedValues& task);

  // Null where there are no bf16 dot products.
  void (*prefill)(const PrefillTask& task);

  // Element-wise, one row (or run) at a time; see elementwise.h.
  void (*rms_norm)(const float* x, const float* weight, int64_t d, float eps, float* y);
  void (*layer_norm)(const float* x, const float* weight, const float* bias, int64_t d, float eps,
                     float* y);
  void (*add)(const float* x, int64_t count, float* y);
  void (*silu_multiply)(const float* gate, const float* up, int64_t count, float* y);
  void (*gelu)(float* x, int64_t count);
  void (*quick_gelu)(float* x, int64_t count);
  void (*exp)(float* x, int64_t count);
  // maxima[i]: the largest of x[i * kLogitRun] and the kLogitRun - 1 after it, as far as they go;
  // NaN counts as less than all.
  void (*run_maxima)(const float* x, int64_t count, float* maxima);
  // The smallest of x; NaN counts as more than all.
  float (*smallest)(const float* x, int64_t count);
  // For kLogitRun logits: exp(x[i] / divisor - top) and the bin, `bins` if in none or NaN. The bin
  // never falls as a logit falls.
  void (*bin_run)(const float* x, const LogitBinning& binning, float* weights, int32_t* bins);
  // Sum of exp(x[i] / divisor - shift). The order of additions depends on count alone.
  double (*sum_exp)(const float* x, int64_t count, float divisor, float shift);
  // One head: x [2 * half], cos and sin [half].
  void (*rotate)(float* x, const float* cos, const float* sin, float sign, int64_t half);

  // Round to nearest even, and back. `bias` null or [count]; y = (accumulate ? y : 0) + (x + bias).
  void (*to_bf16)(const float* x, int64_t count, uint16_t* y);
  void (*from_bf16)(const uint16_t* x, int64_t count, bool accumulate, const float* bias, float* y);
};

// kAvx512Dot: AVX-512 with VNNI and bf16 dot products (Cooper Lake, Zen 4 and later).
enum class Level { kBase, kAvx2, kAvx512, kAvx512Dot };

// The best variant this CPU runs, or the one forced by a test.
const Kernels& Active();
// The variant of a level, or null when this CPU lacks it.
const Kernels* Variant(Level level);
// Makes Active() return `kernels`; null goes back to the best. For tests, from one thread.
void ForceForTesting(const Kernels* kernels);

const Kernels& Avx512DotKernels();
const Kernels& Avx512Kernels();
const Kernels& Avx2Kernels();
const Kernels& BaseKernels();

}  // namespace concertina::isa
