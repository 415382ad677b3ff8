#include <algorithm>
#include <cstring>

#include "models/kernels/parallel.h"
#include "models/kernels/prefill_internal.h"

namespace concertina {
namespace {

constexpr int64_t kVecsMax = isa::kPrefillVecsMax;

// One call. A task is a tile of one key head, all query heads of the group, or with one head per
// group two tiles, so that several vectors share the loads of keys and values.
class Bf16Prefill {
 public:
  Bf16Prefill(const PrefillAttentionArgs& args, const PackedKeys& keys, Workspace& workspace)
      : a_(args),
        tiles_(args),
        packed_(keys),
        isa_(isa::Active()),
        group_(args.heads / args.kv_heads),
        tiles_per_task_(group_ == 1 ? 2 : 1),
        padded_keys_(RoundUp(tiles_.keys(), isa::kPrefillKeyBlock)) {
    const bool keep = a_.column_sums != nullptr;
    sizes_ = Bf16PrefillScratch(a_.head_dim, keep ? padded_keys_ : isa::kPrefillKeyBlock, keep);
    scratch_ = workspace.Floats(kTileSlot, sizes_.floats() * Threads());
    if (keep) {
      sums_ = workspace.Floats(kSumSlot, kPrefillTilesPerRound * a_.kv_heads * padded_keys_);
    }
  }

  void Run() {
    for (int64_t first = 0; first < tiles_.count(); first += kPrefillTilesPerRound) {
      const int64_t count = std::min(kPrefillTilesPerRound, tiles_.count() - first);
      const int64_t tasks = (count + tiles_per_task_ - 1) / tiles_per_task_;
      ParallelTasks(tasks * a_.kv_heads, [&](int worker, int64_t task) {
        // Late tiles see more keys: start with them, so that no thread is left with one at the end.
        const int64_t index = (tasks - 1 - task / a_.kv_heads) * tiles_per_task_;
        RunTiles(worker, first, index, std::min(tiles_per_task_, count - index),
                 task % a_.kv_heads);
      });
      tiles_.AddSums(first, count, sums_, padded_keys_, a_.kv_heads,
                     1.0f / static_cast<float>(group_), a_.column_sums, a_.column_stride);
    }
  }

 private:
  void RunTiles(int worker, int64_t first, int64_t index, int64_t count, int64_t kv_head) {
    if (sums_ != nullptr) {
      for (int64_t i = index; i < index + count; ++i) {
        std::fill_n(TileSums(i, kv_head), padded_keys_, 0.0f);
      }
    }
    if (group_ == 1) {
      isa::PrefillTask task = TaskOf(worker, kv_head);
      for (int64_t i = 0; i < count; ++i) AddVec(first, index + i, kv_head, 0, task);
      isa_.prefill(task);
      return;
    }
    const int64_t parts = (group_ + kVecsMax - 1) / kVecsMax;
    for (int64_t part = 0; part < parts; ++part) {
      isa::PrefillTask task = TaskOf(worker, kv_head);
      for (int64_t g = part * group_ / parts; g < (part + 1) * group_ / parts; ++g) {
        AddVec(first, index, kv_head, g, task);
      }
      isa_.prefill(task);
    }
  }

  float* TileSums(int64_t index, int64_t kv_head) const {
    return sums_ + (index * a_.kv_heads + kv_head) * padded_keys_;
  }

  isa::PrefillTask TaskOf(int worker, int64_t kv_head) const {
    isa::PrefillTask task{};
    task.q_stride = a_.q_stride;
    task.out_stride = a_.out_stride;
    task.growth = a_.causal ? 1 : 0;
    task.k = packed_.Bf16Keys(kv_head);
    task.v = packed_.Bf16Values(kv_head);
    task.bias = a_.key_bias == nullptr ? nullptr : a_.key_bias + kv_head * a_.key_bias_stride;
    task.head_dim = a_.head_dim;
    task.scale = a_.scale;
    task.keep_p = sums_ != nullptr;
    float* scratch = scratch_ + worker * sizes_.floats();
    task.q_packed = scratch;
    task.scores = task.q_packed + sizes_.q;
    task.out_packed = task.scores + sizes_.scores;
    task.p = reinterpret_cast<uint16_t*>(task.out_packed + sizes_.out);
    task.shifts = task.out_packed + sizes_.out + sizes_.p;
    return task;
  }

  // The rows of a tile, with query head g of the group.
  void AddVec(int64_t first, int64_t index, int64_t kv_head, int64_t g,
              isa::PrefillTask& task) const {
    const int64_t begin = tiles_.Begin(first + index);
    const int64_t column = (kv_head * group_ + g) * a_.head_dim;
    const int64_t vec = task.vecs++;
    task.q[vec] = a_.q + begin * a_.q_stride + column;
    task.out[vec] = a_.out + begin * a_.out_stride + column;
    task.rows[vec] = tiles_.End(first + index) - begin;
    task.visible[vec] = tiles_.SeenBy(begin);
    task.sums[vec] = sums_ == nullptr ? nullptr : TileSums(index, kv_head);
  }

  const PrefillAttentionArgs& a_;
  const PrefillTiles tiles_;
  const PackedKeys& packed_;
  const isa::Kernels& isa_;
  const int64_t group_;
  const int64_t tiles_per_task_;
  const int64_t padded_keys_;
  Bf16PrefillScratch sizes_{0, 0, false};
  float* scratch_ = nullptr;
  float* sums_ = nullptr;
};

}  // namespace

Bf16PrefillScratch::Bf16PrefillScratch(int64_t head_dim, int64_t kept_keys, bool keep_shifts) {
  const int64_t lanes = kVecsMax * isa::kPrefillRows;
  q = RoundUp(head_dim, 2) / 2 * lanes;
  scores = isa::kPrefillKeyBlock * lanes;
  out = head_dim * lanes;
  p = kept_keys * lanes / 2;
  shifts = keep_shifts ? kept_keys / isa::kPrefillKeyBlock * lanes : 0;
}

void PrefillBf16(const PrefillAttentionArgs& args, const PackedKeys& keys, Workspace& workspace) {
  Bf16Prefill(args, keys, workspace).Run();
}

}  // namespace concertina
