#pragma once

#include <cstdint>

#include "models/kernels/isa.h"
#include "models/kernels/packed_keys.h"
#include "models/kernels/prefill_attention.h"

// Between the files of prefill attention.

namespace concertina {

// Rows whose column sums are added up before they meet other rows'.
constexpr int64_t kPrefillTileRows = isa::kPrefillRows;
static_assert(kPrefillTileRows == kPrefillSumRows);
// Tiles whose column sums are held before they are added up: bounds the memory of long prompts.
constexpr int64_t kPrefillTilesPerRound = 32;

enum PrefillSlot : size_t { kPackedSlot, kTileSlot, kSumSlot, kHeadSumSlot };

inline int64_t RoundUp(int64_t a, int64_t multiple) {
  return (a + multiple - 1) / multiple * multiple;
}

// Tiles of a call, and which keys they see.
class PrefillTiles {
 public:
  explicit PrefillTiles(const PrefillAttentionArgs& args) : a_(args) {}

  int64_t keys() const { return a_.first_key + a_.rows; }
  int64_t count() const { return (a_.rows + kPrefillTileRows - 1) / kPrefillTileRows; }
  int64_t Begin(int64_t tile) const { return tile * kPrefillTileRows; }
  int64_t End(int64_t tile) const { return Begin(tile + 1) < a_.rows ? Begin(tile + 1) : a_.rows; }
  int64_t SeenBy(int64_t row) const { return a_.causal ? a_.first_key + row + 1 : keys(); }

  // total[head][key] += factor * sums[tile of the round][head][key], in tile order; `sums` has
  // `sum_row` floats per head. Nothing without a total.
  void AddSums(int64_t first, int64_t count, const float* sums, int64_t sum_row, int64_t heads,
               float factor, float* total, int64_t stride) const;

 private:
  const PrefillAttentionArgs& a_;
};

// Floats of scratch that one thread of a call takes.
struct Bf16PrefillScratch {
  // `kept_keys`: of the probabilities that are held at once.
  Bf16PrefillScratch(int64_t head_dim, int64_t kept_keys, bool keep_shifts);
  int64_t q, scores, out, p, shifts;
  int64_t floats() const { return q + scores + out + p + shifts; }
};
int64_t F32PrefillScratch(int64_t group, int64_t head_dim, int64_t score_row);
// 16 floats more than a multiple of 32: rows a power of two apart would share cache sets.
inline int64_t F32ScoreRow(int64_t padded_keys) { return padded_keys + 16; }

void PrefillF32(const PrefillAttentionArgs& args, const PackedKeys& keys, Workspace& workspace);
void PrefillBf16(const PrefillAttentionArgs& args, const PackedKeys& keys, Workspace& workspace);

}  // namespace concertina
