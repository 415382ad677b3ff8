#include "models/bundle/model.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "cache/entry_layout.h"
#include "models/bundle/loaders.h"

namespace concertina {
namespace {

// "models/llava/" and "models/llava" are both "llava"; a file loses its extension.
std::string NameOf(const std::string& path, bool is_folder) {
  std::filesystem::path name = std::filesystem::path(path).lexically_normal();
  if (!name.has_filename()) name = name.parent_path();
  return is_folder ? name.filename().string() : name.stem().string();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChatTemplate>> MakeChat(const std::string& family,
                                                       const std::string& template_text) {
  if (!family.empty()) return ChatTemplateByFamily(family);
  return ChatTemplateFor(template_text);
}

int64_t PageBytesOf(const Model& model) {
  if (model.device) return model.device->page_bytes();
  const LanguageConfig& config = model.config;
  return PageBytesFor(
      {.layers = config.layers, .kv_heads = config.kv_heads, .head_dim = config.head_dim});
}

absl::StatusOr<std::shared_ptr<const Model>> LoadModel(
    const ModelOptions& options, const std::function<void(double)>& progress) {
  if (options.device != kHostDevice) {
    if (absl::Status status = CheckDevice(options.device); !status.ok()) return status;
  }
  std::error_code ignored;  // an unreadable path is reported by whoever opens it
  const bool is_folder = std::filesystem::is_directory(options.path, ignored);
  if (is_folder && !options.vision_path.empty()) {
    return absl::InvalidArgumentError("a vision folder goes with a GGUF file only");
  }
  absl::StatusOr<std::unique_ptr<Model>> loaded =
      is_folder ? LoadFolderModel(options, progress) : LoadGgufModel(options, progress);
  if (!loaded.ok()) return loaded.status();
  Model& model = **loaded;
  model.name = NameOf(options.path, is_folder);
  // Where an answer ends in a chat, even if the configuration does not say so.
  const std::string_view end_of_turn = model.chat->end_of_turn();
  if (!end_of_turn.empty()) AddEndToken(model.tokenizer->Find(end_of_turn), &model.end_tokens);
  if (model.vision) model.weight_bytes = model.vision->weight_bytes();
  if (model.device) {
    model.adapter = model.device->has_adapter();
    model.weight_bytes += model.device->weight_bytes();
    if (model.device->accelerator()) model.device_bytes = model.device->weight_bytes();
  } else {
    model.adapter = model.language->has_adapter();
    model.weight_bytes += model.language->weight_bytes();
  }
  return std::shared_ptr<const Model>(*std::move(loaded));
}

}  // namespace concertina
