#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "cache/budget.h"
#include "cache/page_pool.h"
#include "cache/policies/policy.h"
#include "models/tensor/device_cache.h"
#include "models/tensor/device_kernels.h"
#include "models/tensor/device_step.h"
#include "models/tensor/tensor_model.h"

namespace concertina {

// What TensorEngine does, with LibTorch's exceptions let through: conversations that have a seat
// each from their first prompt on, and all decode together. One thread at a time.
class TensorDecoder {
 public:
  struct Options {
    int32_t rows = 0;
    int64_t pool_pages = 0;
    int32_t entries_per_page = 0;
    bool capture = false;                    // decode steps, where the device can
    const DeviceKernels* kernels = nullptr;  // null: KernelsFor the weights' device
  };
  TensorDecoder(const LanguageConfig& config, TensorWeights weights, const Options& options);

  const TensorModel& model() const { return model_; }
  DeviceMemory& memory() { return memory_; }
  const DeviceStep& step() const { return step_; }
  int32_t rows() const { return static_cast<int32_t>(rows_.size()); }
  // Null: not open.
  const DeviceCache* row(int64_t row) const { return rows_[row].get(); }
  int64_t used_bytes() const { return ledger_->used_bytes(); }

  // Closes every row.
  absl::Status SetPolicy(const std::string& name, const PolicyOptions& options,
                         const Budget& budget);
  void Close(int64_t row) { rows_[row].reset(); }

  // What Prefill refuses before it changes anything.
  absl::Status CheckPrompt(int64_t row, std::span<const int32_t> ids) const;
  // REQUIRES: CheckPrompt. After an error the row must be closed.
  absl::Status Prefill(int64_t row, std::span<const int32_t> ids);

  // One token for every open row; without ids the likeliest after the last one.
  absl::Status Decode(std::span<const int32_t> ids);

  // f32 [rows, vocab], of each row's newest token.
  const at::Tensor& logits() const { return step_.logits(); }

 private:
  absl::Status CheckIds(std::span<const int32_t> ids) const;
  int64_t seen(int64_t row) const { return rows_[row] ? rows_[row]->seen() : 0; }

  TensorModel model_;
  const DeviceKernels& kernels_;
  std::unique_ptr<PagePool> ledger_;
  DeviceMemory memory_;
  DeviceStep step_;
  std::optional<DevicePolicy> policy_;
  Budget budget_;
  std::vector<std::unique_ptr<DeviceCache>> rows_;
};

}  // namespace concertina
