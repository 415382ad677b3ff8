#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "models/runner/prompt_pass.h"
#include "models/tensor/device_cache.h"
#include "models/tensor/device_kernels.h"
#include "models/tensor/tensor_model.h"

namespace concertina {

// A pass on a device, a whole layer at a time. Nothing of it throws.
class DevicePass final : public PromptPass {
 public:
  // `embeddings` [tokens, hidden], on the host.
  DevicePass(const TensorModel& model, const DeviceKernels& kernels, DeviceCache& cache,
             std::vector<float> embeddings, Options options);
  // The same, on the device.
  DevicePass(const TensorModel& model, const DeviceKernels& kernels, DeviceCache& cache,
             const at::Tensor& embeddings, Options options);

  absl::Status Begin() override;
  absl::StatusOr<bool> Step(int32_t most_rows) override;
  bool whole_layers() const override { return true; }
  int64_t first_key() const override { return cache_.OldEntries(layer_); }
  const float* last_hidden() const override;
  const float* hidden() const override { return host_.data(); }
  int64_t bytes() const override;

  // [1 or, with all_rows, tokens, hidden] on the device, once the prompt is through.
  const at::Tensor& output() const { return x_; }

 private:
  absl::Status Layer();
  // What the layer holds and the prompt's own, in birth order.
  LayerEntries AllEntries(const TensorModel::Projected& projected) const;
  at::Tensor Attend(const TensorModel::Projected& projected, LayerEntries* all);
  absl::Status Fold(const LayerEntries& all);
  void ToHost();

  const TensorModel& model_;
  const DeviceKernels& kernels_;
  DeviceCache& cache_;
  const Options options_;
  std::vector<float> host_;  // embeddings; at the end the output
  at::Tensor x_;             // the layer's input
  at::Tensor adapter_;       // bool [tokens, 1]; undefined: it does not act
  TensorModel::Rotation rotation_;
};

}  // namespace concertina
