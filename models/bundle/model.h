#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "models/chat/chat_template.h"
#include "models/image/preprocess.h"
#include "models/language/language_model.h"
#include "models/tensor/device_model.h"
#include "models/tokenizer/tokenizer.h"
#include "models/tuning/decide.h"
#include "models/vision/vision_encoder.h"

namespace concertina {

// The CPU, with the kernels of models/kernels/.
inline constexpr char kHostDevice[] = "cpu";

struct ModelOptions {
  std::string path;         // a .gguf file or a Hugging Face folder
  std::string vision_path;  // only with a GGUF: folder with config.json, adapter.safetensors and
                            // preprocessor_config.json; empty: text only
  WeightSettings weight_type = MatrixType::kF32;
  std::string chat_family;  // empty: recognised from the model's chat template
  // Where the language model runs: kHostDevice, or what CheckDevice (models/tensor) takes. The
  // vision tower always runs on the host.
  std::string device = kHostDevice;
};

// Everything that is loaded once and shared by all conversations. Immutable; the run methods of
// `language` and `vision` belong to the engine thread, the rest is thread-safe.
struct Model {
  std::string name;  // of the file or folder, without extension
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<ChatTemplate> chat;
  LanguageConfig config;                    // of the language model
  std::unique_ptr<LanguageModel> language;  // null when it runs on `device`
  std::unique_ptr<DeviceModel> device;      // null when it runs on the host
  std::unique_ptr<VisionEncoder> vision;    // null for a text model
  PreprocessConfig preprocess;              // meaningful with `vision`
  TokenId image_token = -1;                 // stands for one row of an image; -1 without vision
  int32_t image_tokens = 0;                 // rows per image
  std::vector<TokenId> end_tokens;          // any of them ends an answer; distinct
  WeightDecision weights;
  int64_t weight_bytes = 0;  // of all copies
  int64_t device_bytes = 0;  // of these, outside the host's memory
  bool adapter = false;      // a low-rank adapter acts in conversations with a picture
};

// Of a page of the pool that counts this model's entries.
int64_t PageBytesOf(const Model& model);

// Loads a model. `progress` gets shares in [0, 1], possibly from several threads, one call at a
// time. NOT_FOUND: a file or tensor is missing; INVALID_ARGUMENT: files contradict themselves or
// each other; UNIMPLEMENTED: a kind of model that is not built; FAILED_PRECONDITION: unknown chat
// template, or a device that is not there.
absl::StatusOr<std::shared_ptr<const Model>> LoadModel(
    const ModelOptions& options, const std::function<void(double)>& progress = {});

}  // namespace concertina
