#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "models/bundle/loaders.h"
#include "models/config/json_file.h"
#include "models/weights/safetensors.h"
#include "nlohmann/json.hpp"

namespace concertina {
namespace {

// The files of options.vision_path.
struct VisionFiles {
  nlohmann::json config;
  std::unique_ptr<TensorSource> weights;
  bool has_adapter = false;
};

// The low-rank adapter is all or nothing: tensors that nobody would read are a fault.
absl::StatusOr<bool> HasAdapter(const TensorSource& source, const LanguageConfig& language) {
  const auto& tensors = source.tensors();
  const int64_t found = std::count_if(tensors.begin(), tensors.end(), [](const TensorInfo& tensor) {
    return absl::StrContains(tensor.name, ".lora_");
  });
  constexpr int64_t kTensorsPerLayer = 8;  // A and B of q, k, v and o
  const int64_t expected = kTensorsPerLayer * language.layers;
  if (found != 0 && found != expected) {
    return absl::InvalidArgumentError(
        absl::StrCat("the adapter has ", found, " low-rank tensors, the model takes ", expected));
  }
  return found != 0;
}

// What the vision folder says about the language model it was trained for must be true of this one.
absl::Status CheckTextConfig(const nlohmann::json& config, const LanguageConfig& language) {
  const auto text = config.find("text_config");
  if (text == config.end()) return absl::OkStatus();
  absl::StatusOr<LanguageConfig> stated = LanguageConfigFromJson(*text);
  if (!stated.ok()) return stated.status();
  const std::pair<const char*, int32_t LanguageConfig::*> fields[] = {
      {"layers", &LanguageConfig::layers},
      {"hidden size", &LanguageConfig::hidden},
      {"heads", &LanguageConfig::heads},
      {"key/value heads", &LanguageConfig::kv_heads},
      {"head dimension", &LanguageConfig::head_dim}};
  for (const auto& [name, field] : fields) {
    if (*stated.*field != language.*field) {
      return absl::InvalidArgumentError(
          absl::StrCat("the vision folder is for a language model with ", name, " ", *stated.*field,
                       ", this one has ", language.*field));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<VisionFiles> OpenVision(const std::string& folder, const LanguageConfig& language) {
  absl::StatusOr<nlohmann::json> config = ReadJsonFile(folder + "/config.json");
  if (!config.ok()) return config.status();
  absl::StatusOr<std::unique_ptr<TensorSource>> weights =
      OpenSafetensors(folder + "/adapter.safetensors");
  if (!weights.ok()) return weights.status();
  if (absl::Status status = CheckTextConfig(*config, language); !status.ok()) return status;
  absl::StatusOr<bool> has_adapter = HasAdapter(**weights, language);
  if (!has_adapter.ok()) return has_adapter.status();
  return VisionFiles{*std::move(config), *std::move(weights), *has_adapter};
}

// Tokenizer, chat template and end tokens.
absl::Status LoadText(const GgufFile& file, const ModelOptions& options,
                      const LanguageConfig& language, Model* model) {
  absl::StatusOr<GgufVocabulary> vocabulary = ReadGgufVocabulary(file);
  if (!vocabulary.ok()) return vocabulary.status();
  if (vocabulary->tokens.size() != static_cast<size_t>(language.vocab)) {
    return absl::InvalidArgumentError(absl::StrCat("GGUF: ", vocabulary->tokens.size(),
                                                   " tokens, but embeddings for ", language.vocab));
  }
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = MakeTokenizer(*vocabulary);
  if (!tokenizer.ok()) return tokenizer.status();
  model->tokenizer = *std::move(tokenizer);
  const std::string text(file.GetString("tokenizer.chat_template").value_or(""));
  absl::StatusOr<std::unique_ptr<ChatTemplate>> chat = MakeChat(options.chat_family, text);
  if (!chat.ok()) return chat.status();
  model->chat = *std::move(chat);
  AddEndToken(model->tokenizer->eos(), &model->end_tokens);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> LoadGgufModel(const ModelOptions& options,
                                                     const std::function<void(double)>& progress) {
  absl::StatusOr<std::unique_ptr<GgufFile>> opened = GgufFile::Open(options.path);
  if (!opened.ok()) return opened.status();
  const std::shared_ptr<const GgufFile> file = *std::move(opened);
  absl::StatusOr<LanguageConfig> config = LanguageConfigFromGguf(*file);
  if (!config.ok()) return config.status();
  auto model = std::make_unique<Model>();
  model->config = *config;
  absl::Status status = LoadText(*file, options, *config, model.get());
  if (!status.ok()) return status;
  LanguageSource source{.weights = file, .naming = WeightNaming::kGguf};
  status = DecideModelWeights(options, source, model.get());
  if (!status.ok()) return status;
  VisionFiles vision;
  if (!options.vision_path.empty()) {
    absl::StatusOr<VisionFiles> files = OpenVision(options.vision_path, *config);
    if (!files.ok()) return files.status();
    vision = *std::move(files);
    status = LoadVisionParts(vision.config, options.vision_path, *vision.weights, *config,
                             model->weights.vision, model.get());
    if (!status.ok()) return status;
  }
  if (vision.has_adapter) source.adapter = vision.weights.get();
  status = LoadLanguageParts(options, source, progress, model.get());
  if (!status.ok()) return status;
  return model;
}

}  // namespace concertina
