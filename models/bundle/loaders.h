#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/bundle/model.h"
#include "models/weights/gguf.h"
#include "models/weights/tensor_source.h"
#include "nlohmann/json_fwd.hpp"

namespace concertina {

// The parts of LoadModel(); errors as there.

// A .gguf file, with the vision parts of options.vision_path if that is set.
absl::StatusOr<std::unique_ptr<Model>> LoadGgufModel(const ModelOptions& options,
                                                     const std::function<void(double)>& progress);

// A Hugging Face folder: a Llama model, or LLaVA.
absl::StatusOr<std::unique_ptr<Model>> LoadFolderModel(const ModelOptions& options,
                                                       const std::function<void(double)>& progress);

// Vision tower, projector, preprocessing and image token, as a LLaVA `config` and the folder's
// preprocessor_config.json describe them. Sets model->vision and what belongs to it.
absl::Status LoadVisionParts(const nlohmann::json& config, const std::string& folder,
                             const TensorSource& weights, const LanguageConfig& language,
                             MatrixType type, Model* model);

// Chooses the types of a model's matrices by the shape of the language model's largest ones; those
// on another device are f32 or bf16. Sets model->weights.
absl::Status DecideModelWeights(const ModelOptions& options, const LanguageSource& source,
                                Model* model);

// The language model of model->config on options.device, in the types of model->weights.
absl::Status LoadLanguageParts(const ModelOptions& options, const LanguageSource& source,
                               const std::function<void(double)>& progress, Model* model);

// The vocabulary of a GGUF file as the tokenizer takes it.
absl::StatusOr<GgufVocabulary> ReadGgufVocabulary(const GgufFile& file);

// Ids in `eos_token_id` (a number or a list) of the first of `configs` that has one; the first may
// be a missing file's empty object. Empty when none has.
absl::StatusOr<std::vector<TokenId>> ReadEndTokens(
    const std::vector<const nlohmann::json*>& configs, int32_t vocab);

// Adds `token` unless it is there.
void AddEndToken(std::optional<TokenId> token, std::vector<TokenId>* tokens);

// The template of `family`, or recognised from `template_text` when `family` is empty.
absl::StatusOr<std::unique_ptr<ChatTemplate>> MakeChat(const std::string& family,
                                                       const std::string& template_text);

}  // namespace concertina
