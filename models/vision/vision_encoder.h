#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "models/kernels/matrix.h"
#include "models/kernels/workspace.h"
#include "models/vision/vision_config.h"
#include "models/vision/vision_layer.h"
#include "models/weights/tensor_source.h"

namespace concertina {

// CLIP vision tower (HF CLIPVisionModel) and LLaVA projector (HF LlavaMultiModalProjector):
// pictures in, rows for the language model out. Immutable after loading; Encode and VisionJob share
// one workspace and belong to the engine thread. With f32 weights an image's features do not depend
// on the other images.
class VisionEncoder {
 public:
  // `source` is read at load only. `output`: width of the language model, which the projector must
  // have. NOT_FOUND / INVALID_ARGUMENT: a tensor is missing or has another shape (named).
  static absl::StatusOr<std::unique_ptr<VisionEncoder>> Load(const VisionConfig& config,
                                                             const TensorSource& source,
                                                             int64_t output, MatrixType type);
  ~VisionEncoder();
  VisionEncoder(const VisionEncoder&) = delete;
  VisionEncoder& operator=(const VisionEncoder&) = delete;

  const VisionConfig& config() const { return config_; }
  int32_t tokens_per_image() const { return config_.tokens(); }
  int32_t image_side() const { return config_.image_side; }
  int64_t output_width() const { return output_; }
  int64_t weight_bytes() const;
  int64_t matrix_parameters() const;  // elements of the matrices
  int64_t workspace_bytes() const;

  // Sees hidden state `index` (0: the encoder's input .. layers) of one image, [patches + 1,
  // hidden].
  using HiddenHook = std::function<void(int64_t image, int32_t index, const float* hidden)>;

  // All at once; VisionJob does it in steps. pixels [n, 3, side, side], normalised; features [n *
  // tokens_per_image, output_width]. Layers above the deepest feature layer run only when `hook` is
  // set.
  void Encode(const float* pixels, int64_t n, float* features, const HiddenHook& hook = {}) const;

 private:
  class Loader;
  friend class VisionJob;

  VisionEncoder(const VisionConfig& config, int64_t output) : config_(config), output_(output) {}
  VisionConfig config_;
  int64_t output_;
  std::unique_ptr<PackedMatrix> patch_embedding_;
  std::vector<float> class_embedding_, position_embedding_;
  VisionNorm pre_norm_;
  std::vector<VisionLayer> layers_;
  VisionLinear projector1_, projector2_;
  mutable Workspace workspace_, attention_workspace_;
};

}  // namespace concertina
