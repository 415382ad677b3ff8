#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "models/bundle/loaders.h"
#include "models/config/config_fields.h"
#include "models/config/json_file.h"
#include "models/weights/safetensors.h"
#include "nlohmann/json.hpp"

namespace concertina {
namespace {

// An absent file is an empty object.
absl::StatusOr<nlohmann::json> ReadOptionalJson(const std::string& path) {
  absl::StatusOr<nlohmann::json> json = ReadJsonFile(path);
  if (absl::IsNotFound(json.status())) return nlohmann::json::object();
  return json;
}

// `chat_template` of a JSON file: a string, or a list of {"name", "template"} with one named
// "default".
std::string TemplateIn(const nlohmann::json& json) {
  const auto field = json.find("chat_template");
  if (field == json.end()) return "";
  if (field->is_string()) return field->get<std::string>();
  if (!field->is_array()) return "";
  for (const nlohmann::json& entry : *field) {
    if (!entry.is_object() || entry.value("name", nlohmann::json()) != "default") continue;
    const auto text = entry.find("template");
    if (text != entry.end() && text->is_string()) return text->get<std::string>();
  }
  return "";
}

// In Hugging Face's order of preference; empty when the folder has none.
absl::StatusOr<std::string> ReadTemplate(const std::string& folder) {
  absl::StatusOr<std::string> text = ReadTextFile(folder + "/chat_template.jinja");
  if (!absl::IsNotFound(text.status())) return text;
  for (const char* name : {"/chat_template.json", "/tokenizer_config.json"}) {
    absl::StatusOr<nlohmann::json> json = ReadOptionalJson(folder + name);
    if (!json.ok()) return json.status();
    std::string found = TemplateIn(*json);
    if (!found.empty()) return found;
  }
  return "";
}

// Whether the head is the embedding. Either level of a LLaVA configuration may say so; a folder
// that says nothing is believed by what it holds.
bool IsTied(const nlohmann::json& config, const nlohmann::json& text, const TensorSource& weights) {
  bool stated = false;
  for (const nlohmann::json* level : {&config, &text}) {
    const auto field = level->find("tie_word_embeddings");
    if (field == level->end() || !field->is_boolean()) continue;
    if (field->get<bool>()) return true;
    stated = true;
  }
  return !stated && !HasLanguageHead(weights);
}

absl::Status LoadText(const std::string& folder, const ModelOptions& options,
                      const nlohmann::json& config, const nlohmann::json& text, int32_t vocab,
                      Model* model) {
  absl::StatusOr<std::string> json = ReadTextFile(folder + "/tokenizer.json");
  if (!json.ok()) return json.status();
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = LoadTokenizerJson(*json);
  if (!tokenizer.ok()) return tokenizer.status();
  model->tokenizer = *std::move(tokenizer);
  if (model->tokenizer->vocab_size() > vocab) {
    return absl::InvalidArgumentError(absl::StrCat("tokenizer.json has ids up to ",
                                                   model->tokenizer->vocab_size() - 1,
                                                   ", the model a vocabulary of ", vocab));
  }
  absl::StatusOr<std::string> template_text = ReadTemplate(folder);
  if (!template_text.ok()) return template_text.status();
  absl::StatusOr<std::unique_ptr<ChatTemplate>> chat =
      MakeChat(options.chat_family, *template_text);
  if (!chat.ok()) return chat.status();
  model->chat = *std::move(chat);

  absl::StatusOr<nlohmann::json> generation = ReadOptionalJson(folder + "/generation_config.json");
  if (!generation.ok()) return generation.status();
  absl::StatusOr<std::vector<TokenId>> ends = ReadEndTokens({&*generation, &config, &text}, vocab);
  if (!ends.ok()) return ends.status();
  model->end_tokens = *std::move(ends);
  if (model->end_tokens.empty()) AddEndToken(model->tokenizer->eos(), &model->end_tokens);
  constexpr TokenId kDefaultEnd = 2;  // HF LlamaConfig
  if (model->end_tokens.empty() && kDefaultEnd < vocab)
    AddEndToken(kDefaultEnd, &model->end_tokens);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> LoadFolderModel(
    const ModelOptions& options, const std::function<void(double)>& progress) {
  const std::string& folder = options.path;
  absl::StatusOr<nlohmann::json> config = ReadJsonFile(folder + "/config.json");
  if (!config.ok()) return config.status();
  ConfigFields fields(*config, "model's configuration");
  const bool llava = fields.OneOf("model_type", "", {"llava", "llama"}) == "llava";
  const nlohmann::json* text_object = llava ? fields.Object("text_config") : &*config;
  if (!fields.status().ok()) return fields.status();
  const nlohmann::json text = text_object == nullptr ? nlohmann::json::object() : *text_object;
  absl::StatusOr<LanguageConfig> language_config = LanguageConfigFromJson(text);
  if (!language_config.ok()) return language_config.status();

  absl::StatusOr<std::unique_ptr<TensorSource>> opened = OpenSafetensors(folder);
  if (!opened.ok()) return opened.status();
  const std::shared_ptr<const TensorSource> weights = *std::move(opened);
  language_config->tied = IsTied(*config, text, *weights);
  auto model = std::make_unique<Model>();
  model->config = *language_config;
  absl::Status status =
      LoadText(folder, options, *config, text, language_config->vocab, model.get());
  if (!status.ok()) return status;
  const LanguageSource source{.weights = weights, .naming = WeightNaming::kHuggingFace};
  status = DecideModelWeights(options, source, model.get());
  if (!status.ok()) return status;
  if (llava) {
    status = LoadVisionParts(*config, folder, *weights, *language_config, model->weights.vision,
                             model.get());
  }
  if (!status.ok()) return status;
  status = LoadLanguageParts(options, source, progress, model.get());
  if (!status.ok()) return status;
  return model;
}

}  // namespace concertina
