#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "cache/budget.h"
#include "models/tensor/device_kernels.h"
#include "models/tensor/device_policy.h"
#include "models/tensor/paged_layer.h"

namespace concertina {

// What a decode step does, computed on the host and read on the device, so that a step is the same
// sequence of operations every time. Rows that are not open write to slot 0 of page 0.
class StepPlan {
 public:
  // `rounds`: of evictions in one step.
  StepPlan(int64_t layers, int64_t rows, int64_t rounds, const at::Device& device);

  int64_t rounds() const { return rounds_; }

  // On the host, to be filled; 0 at first.
  int32_t& position(int64_t row) { return At(0, row); }
  int32_t& slot(int64_t layer, int64_t row) { return At(Base(layer), row); }
  int32_t& length(int64_t layer, int64_t row) { return At(Base(layer) + 1, row); }
  int32_t& begin(int64_t layer, int64_t round, int64_t row) {
    return At(Base(layer) + 2 + 2 * round, row);
  }
  int32_t& end(int64_t layer, int64_t round, int64_t row) {
    return At(Base(layer) + 3 + 2 * round, row);
  }
  // No row is open: positions 0, slots 0, lengths 1, nothing evicted.
  void Clear();
  void Upload() { device_.copy_(host_); }

  // On the device, i32.
  at::Tensor positions() const { return device_.select(0, 0); }                     // [rows]
  at::Tensor slots(int64_t layer) const { return device_.select(0, Base(layer)); }  // [rows]
  at::Tensor lengths(int64_t layer) const { return device_.select(0, Base(layer) + 1); }
  at::Tensor ranges(int64_t layer) const {  // EvictArgs::ranges
    return device_.narrow(0, Base(layer) + 2, 2 * rounds_).view({rounds_, 2, rows_});
  }

 private:
  int64_t Base(int64_t layer) const { return 1 + (2 + 2 * rounds_) * layer; }
  int32_t& At(int64_t line, int64_t row) { return values_[line * rows_ + row]; }

  int64_t layers_, rows_, rounds_;
  at::Tensor host_, device_;
  int32_t* values_;
};

struct DeviceCacheShape {
  CacheShape heads;
  int32_t rows = 0;
  int64_t pages = 0;  // one more is allotted for rows that are not open
  int32_t entries_per_page = 0;
};

// The elastic caches of all rows on one device: which pages they have and how many entries, on the
// host; the entries and everything per entry on the device. Throws c10::Error; owned by one thread.
class DeviceCache {
 public:
  DeviceCache(const DeviceCacheShape& shape, const at::TensorOptions& options);

  // Closes every row. Budgets are in entries.
  void SetPolicy(const DevicePolicy& policy, const Budget& budget);
  void Close(int64_t row);
  bool open(int64_t row) const { return rows_[row].open; }

  // --- a prompt of `tokens` tokens for one row: every layer in order ---
  void BeginPrefill(int64_t row, int64_t tokens);
  // The layer's entries so far, S as SessionCache would have stored it.
  LayerEntries Held(int64_t row, int64_t layer) const;
  // Stores the layer's entries: `all` are those held and the prompt's, in birth order, with S
  // including the prompt's column sums (unless the policy needs none). RESOURCE_EXHAUSTED: close
  // the row.
  absl::Status Fold(int64_t row, int64_t layer, const LayerEntries& all);

  // --- a decode step of all open rows ---
  // Makes room for one more entry in every layer and fills plan(). RESOURCE_EXHAUSTED, with the
  // rows as they were.
  absl::Status PlanStep();
  const StepPlan& plan() const { return plan_; }
  int64_t longest(int64_t layer) const { return longest_[layer]; }  // of the step planned
  int64_t rounds(int64_t layer) const { return rounds_[layer]; }    // likewise
  void CommitStep();

  const PageStore& store() const { return store_; }
  PagedLayer& layer(int64_t index) { return layers_[index]; }
  // Changes when tensors of a layer or the plan's were replaced.
  uint64_t generation() const { return generation_; }

  int64_t seen(int64_t row) const { return rows_[row].seen; }
  int32_t entries(int64_t row, int64_t layer) const { return rows_[row].layers[layer].entries; }
  int64_t used_bytes() const;
  int64_t metadata_bytes() const;
  LayerEntries Contents(int64_t row, int64_t layer) const;

 private:
  struct RowLayer {
    int32_t entries = 0;          // per head
    int32_t entries_at_fold = 0;  // of them, at the last fold
    int32_t entries_planned = 0;  // after the step planned
    std::vector<int32_t> pages;   // [page][kv_head]
  };
  struct Row {
    bool open = false;
    int64_t seen = 0;
    std::vector<RowLayer> layers;
  };

  int64_t kv_heads() const { return shape_.heads.kv_heads; }
  std::vector<int32_t> Shares(const Row& row, int64_t seen, int32_t more) const;
  absl::Status HoldPages(int64_t row, int64_t layer, int64_t entries);
  void ReleasePages(int64_t row, int64_t layer, int64_t entries);
  // Each row's shares in the coming step; makes the plan large enough for its evictions.
  std::vector<std::vector<int32_t>> PlanShares();
  absl::Status PlanRow(int64_t row, const std::vector<int32_t>& shares);
  void PlanEvictions(int64_t row, int64_t layer, int32_t share);
  void UploadTables();

  DeviceCacheShape shape_;
  std::unique_ptr<DevicePolicy> policy_;
  Budget budget_;
  EntryLayout layout_;  // of `cache/`, to resolve budgets
  PageStore store_;
  std::vector<PagedLayer> layers_;
  std::vector<bool> table_changed_;  // [layer]: the device's table is not the host's
  std::vector<Row> rows_;
  std::vector<int32_t> free_pages_;
  StepPlan plan_;
  std::vector<int64_t> longest_, rounds_;  // [layer]
  std::vector<int32_t> shares_;            // of the prefill under way
  uint64_t generation_ = 0;
};

}  // namespace concertina
