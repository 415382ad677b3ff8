#include "models/tensor/step_plan.h"

#include <ATen/ops/zeros.h>

namespace concertina {

StepPlan::StepPlan(int64_t layers, int64_t seats, int64_t rounds, const at::Device& device)
    : layers_(layers), seats_(seats), rounds_(rounds) {
  const at::TensorOptions ints = at::TensorOptions().dtype(at::kInt);
  host_ = at::zeros({Base(layers), seats}, ints);
  device_ = at::zeros({Base(layers), seats}, ints.device(device));
  values_ = host_.mutable_data_ptr<int32_t>();
}

void StepPlan::Clear() {
  host_.zero_();
  for (int64_t layer = 0; layer < layers_; ++layer) {
    for (int64_t seat = 0; seat < seats_; ++seat) length(layer, seat) = 1;
  }
}

void StepPlan::Clear(int64_t seat) {
  for (int64_t line = 0; line < Base(layers_); ++line) At(line, seat) = 0;
  for (int64_t layer = 0; layer < layers_; ++layer) length(layer, seat) = 1;
}

}  // namespace concertina
