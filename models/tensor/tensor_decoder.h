#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "cache/budget.h"
#include "cache/policies/policy.h"
#include "models/tensor/device_cache.h"
#include "models/tensor/device_kernels.h"
#include "models/tensor/tensor_model.h"

namespace concertina {

// What TensorEngine does, with LibTorch's exceptions let through: prompts, folded layer by layer,
// and decode steps. One thread at a time.
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
  DeviceCache& cache() { return cache_; }
  int32_t rows() const { return rows_; }

  // Closes every row.
  absl::Status SetPolicy(const std::string& name, const PolicyOptions& options,
                         const Budget& budget);

  // What Prefill refuses before it changes anything.
  absl::Status CheckPrompt(int64_t row, std::span<const int32_t> ids) const;
  // REQUIRES: CheckPrompt. After an error the row must be closed.
  absl::Status Prefill(int64_t row, std::span<const int32_t> ids);

  // One token for every open row; without ids the likeliest after the last one.
  absl::Status Decode(std::span<const int32_t> ids);

  // f32 [rows, vocab], of each row's newest token.
  const at::Tensor& logits() const { return logits_; }

 private:
  absl::Status CheckIds(std::span<const int32_t> ids) const;
  at::Tensor ToDevice(std::span<const int32_t> ids) const;  // i64
  absl::Status PrefillLayer(int64_t row, int layer, int64_t first_birth,
                            const TensorModel::Rotation& rotation, at::Tensor* x);
  at::Tensor Attend(const TensorModel::Projected& projected, LayerEntries* all, int64_t held);
  void Step();

  TensorModel model_;
  const DeviceKernels& kernels_;
  DeviceCache cache_;
  std::unique_ptr<StepRunner> runner_;  // null: steps are run one operation after another
  at::Tensor tokens_;                   // i64 [rows]: the next step's
  at::Tensor logits_;
  int32_t rows_;
  bool scores_ = false, folds_ = false;
};

}  // namespace concertina
