#include "models/vision/vision_encoder.h"

#include "models/vision/vision_job.h"

namespace concertina {

VisionEncoder::~VisionEncoder() = default;

int64_t VisionEncoder::weight_bytes() const {
  const size_t floats = class_embedding_.size() + position_embedding_.size() +
                        pre_norm_.weight.size() + pre_norm_.bias.size();
  int64_t bytes = patch_embedding_->bytes() + projector1_.bytes() + projector2_.bytes() +
                  static_cast<int64_t>(floats * sizeof(float));
  for (const VisionLayer& layer : layers_) bytes += layer.bytes();
  return bytes;
}

int64_t VisionEncoder::matrix_parameters() const {
  int64_t sum = patch_embedding_->n() * patch_embedding_->k();
  for (const VisionLinear* linear : {&projector1_, &projector2_}) sum += linear->parameters();
  for (const VisionLayer& layer : layers_) {
    for (const VisionLinear* linear : {&layer.qkv, &layer.out, &layer.fc1, &layer.fc2}) {
      sum += linear->parameters();
    }
  }
  return sum;
}

int64_t VisionEncoder::workspace_bytes() const {
  return workspace_.bytes() + attention_workspace_.bytes();
}

void VisionEncoder::Encode(const float* pixels, int64_t n, float* features,
                           const HiddenHook& hook) const {
  const int64_t image_size = int64_t{3} * config_.image_side * config_.image_side;
  // One image at a time: a tower's worth of rows fills the kernels, and the workspace stays small.
  for (int64_t image = 0; image < n; ++image) {
    VisionJob::HiddenHook see;
    if (hook) see = [&](int32_t index, const float* hidden) { hook(image, index, hidden); };
    VisionJob job(*this, pixels + image * image_size, features + image * config_.tokens() * output_,
                  see);
    while (!job.Step(config_.patches() + 1)) {
    }
  }
}

}  // namespace concertina
