#include <array>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "models/packing/packing_queue.h"
#include "models/packing/tensor_finder.h"
#include "models/vision/vision_encoder.h"

namespace concertina {
namespace {

// The tower's names on the hub and as saved since transformers 4.52.
constexpr std::array<const char*, 4> kTowerPrefixes{"vision_tower.vision_model.", "vision_tower.",
                                                    "model.vision_tower.vision_model.",
                                                    "model.vision_tower."};
constexpr std::array<const char*, 2> kProjectorPrefixes{"multi_modal_projector.",
                                                        "model.multi_modal_projector."};

// The first prefix under which `source` has the tensor `probe`; empty when there is none.
template <size_t kCount>
std::string FindPrefix(const TensorSource& source, const std::array<const char*, kCount>& prefixes,
                       const char* probe) {
  for (const char* prefix : prefixes) {
    if (source.Find(absl::StrCat(prefix, probe)) != nullptr) return prefix;
  }
  return {};
}

}  // namespace

// Fills an encoder from a file.
class VisionEncoder::Loader {
 public:
  Loader(VisionEncoder* encoder, const TensorSource& source, MatrixType type)
      : encoder_(*encoder), finder_(source), type_(type) {}

  absl::Status Run() {
    const std::string tower =
        FindPrefix(finder_.source(), kTowerPrefixes, "embeddings.class_embedding");
    const std::string projector =
        FindPrefix(finder_.source(), kProjectorPrefixes, "linear_1.weight");
    if (tower.empty()) return absl::NotFoundError("no CLIP vision tower in the weights");
    if (projector.empty()) return absl::NotFoundError("no LLaVA projector in the weights");
    LoadTower(tower);
    LoadProjector(projector);
    if (!finder_.status().ok()) return finder_.status();
    return queue_.Run({});
  }

 private:
  void LoadTower(const std::string& prefix) {
    const VisionConfig& config = encoder_.config_;
    const int64_t hidden = config.hidden;
    const int64_t patch = config.patch_side;
    const std::string embeddings = absl::StrCat(prefix, "embeddings.");
    encoder_.class_embedding_ = finder_.Read(embeddings + "class_embedding", {hidden});
    encoder_.position_embedding_ =
        finder_.Read(embeddings + "position_embedding.weight", {config.patches() + 1, hidden});
    StackedMatrix patches;
    finder_.Append(embeddings + "patch_embedding.weight", {hidden, 3, patch, patch}, &patches);
    QueuePacking(finder_, std::move(patches), type_, queue_, &encoder_.patch_embedding_);
    // The name is misspelt in every CLIP checkpoint.
    encoder_.pre_norm_ = LoadVisionNorm(finder_, prefix + "pre_layrnorm", hidden);
    encoder_.layers_.resize(static_cast<size_t>(config.layers));
    for (size_t i = 0; i < encoder_.layers_.size(); ++i) {
      LoadVisionLayer(finder_, absl::StrCat(prefix, "encoder.layers.", i, "."), config, type_,
                      queue_, &encoder_.layers_[i]);
    }
  }

  void LoadProjector(const std::string& prefix) {
    const VisionConfig& config = encoder_.config_;
    const int64_t in = static_cast<int64_t>(config.feature_layers.size()) * config.hidden;
    const int64_t out = encoder_.output_;
    QueueVisionLinear(finder_, {prefix + "linear_1"}, out, in, config.projector_bias, type_, queue_,
                      &encoder_.projector1_);
    QueueVisionLinear(finder_, {prefix + "linear_2"}, out, out, config.projector_bias, type_,
                      queue_, &encoder_.projector2_);
  }

  VisionEncoder& encoder_;
  TensorFinder finder_;
  MatrixType type_;
  PackingQueue queue_;
};

absl::StatusOr<std::unique_ptr<VisionEncoder>> VisionEncoder::Load(const VisionConfig& config,
                                                                   const TensorSource& source,
                                                                   int64_t output,
                                                                   MatrixType type) {
  std::unique_ptr<VisionEncoder> encoder(new VisionEncoder(config, output));
  if (absl::Status status = Loader(encoder.get(), source, type).Run(); !status.ok()) return status;
  return encoder;
}

}  // namespace concertina
