#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "models/vision/vision_encoder.h"

namespace concertina {

// One picture's way through tower and projector, some rows at a time: between two steps other work
// may use the encoder, another job included. With f32 weights the features do not depend on how the
// rows are cut. Engine thread only; `encoder`, `pixels` and `features` must outlive the job.
class VisionJob {
 public:
  // Sees hidden state `index` (0: the encoder's input .. layers), [patches + 1, hidden].
  using HiddenHook = std::function<void(int32_t index, const float* hidden)>;

  // pixels [3, side, side], normalised; features [tokens_per_image, output_width]. Layers above the
  // deepest feature layer run only when `hook` is set.
  VisionJob(const VisionEncoder& encoder, const float* pixels, float* features,
            HiddenHook hook = {});

  // At most `most_rows` of the rows that the current stage has left: the patches' embedding, half a
  // layer, or the projector. True when the features are complete.
  bool Step(int64_t most_rows);

  int64_t rows_left() const { return StageRows() - row_; }
  // Multiply-adds of one row of the current stage.
  int64_t row_macs() const;

  int64_t bytes() const;
  static int64_t BytesFor(const VisionConfig& config);
  // Multiply-adds of a whole picture.
  static int64_t PictureMacs(const VisionConfig& config, int64_t output);

 private:
  // A layer has two: rows attend to each other, so all must have passed the first.
  enum class Stage { kPatches, kQkv, kRest, kProjector, kDone };

  int64_t StageRows() const;
  void EmbedPatches(int64_t rows);
  void ProjectQkv(int64_t rows);
  void FinishLayer(int64_t rows);
  void Attend(int64_t rows, float* out);
  void Project(int64_t rows);
  void NextStage();
  // Hidden state `index` is complete: shows it, and copies it to its places in `selected_`.
  void Publish(int32_t index);

  const VisionEncoder& encoder_;
  const VisionConfig& config_;
  const float* pixels_;
  float* features_;
  const HiddenHook hook_;
  const int32_t last_;  // hidden state
  Stage stage_ = Stage::kPatches;
  int32_t layer_ = 0;
  int64_t row_ = 0;              // of the stage
  std::vector<float> hidden_;    // [patches + 1, hidden]
  std::vector<float> qkv_;       // [patches + 1, 3 * hidden], of one layer
  std::vector<float> selected_;  // [tokens, feature layers * hidden]
};

}  // namespace concertina
