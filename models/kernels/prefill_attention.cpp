#include "models/kernels/prefill_attention.h"

#include <algorithm>

#include "models/kernels/isa.h"
#include "models/kernels/parallel.h"
#include "models/kernels/prefill_internal.h"

namespace concertina {

void PrefillTiles::AddSums(int64_t first, int64_t count, const float* sums, int64_t sum_row,
                           int64_t heads, float factor, float* total, int64_t stride) const {
  if (total == nullptr) return;
  const isa::Kernels& isa = isa::Active();
  constexpr int64_t kKeys = 512;
  const int64_t parts = RoundUp(SeenBy(End(first + count - 1) - 1), kKeys) / kKeys;
  ParallelFor(0, heads * parts, 4, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t head = task / parts;
      const int64_t key = task % parts * kKeys;
      for (int64_t tile = 0; tile < count; ++tile) {
        const int64_t seen = SeenBy(End(first + tile) - 1) - key;
        if (seen <= 0) continue;
        isa.add_scaled(sums + (tile * heads + head) * sum_row + key, factor, std::min(seen, kKeys),
                       total + head * stride + key);
      }
    }
  });
}

void PrefillAttention(const PrefillAttentionArgs& args, Workspace& workspace) {
  if (args.rows == 0) return;
  const auto run = [&](const PackedKeys& keys) {
    if (keys.bf16()) {
      PrefillBf16(args, keys, workspace);
    } else {
      PrefillF32(args, keys, workspace);
    }
  };
  if (args.packed != nullptr) return run(*args.packed);
  const int64_t count = args.first_key + args.rows;
  const PackedKeys::Shape shape{.precision = args.precision,
                                .kv_heads = args.kv_heads,
                                .head_dim = args.head_dim,
                                .capacity = count};
  PackedKeys keys(shape, workspace.Floats(kPackedSlot, PackedKeys::FloatsFor(shape)));
  keys.Append(args.k, args.v, count, args.kv_head_stride,
              args.kv_row_stride == 0 ? args.head_dim : args.kv_row_stride);
  run(keys);
}

int64_t PrefillScratchBytes(const PrefillSizes& sizes) {
  // Blocks of keys are whole ones in both; a panel's columns are fewer.
  const int64_t keys = RoundUp(sizes.keys, isa::kPrefillKeyBlock);
  const int64_t group = sizes.heads / sizes.kv_heads;
  const int64_t thread = std::max(Bf16PrefillScratch(sizes.head_dim, keys, true).floats(),
                                  F32PrefillScratch(group, sizes.head_dim, F32ScoreRow(keys)));
  const int64_t sums = kPrefillTilesPerRound * sizes.kv_heads * keys;
  return (thread * Threads() + sums) * static_cast<int64_t>(sizeof(float));
}

}  // namespace concertina
