#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "models/bundle/loaders.h"
#include "models/config/config_fields.h"
#include "models/config/json_file.h"
#include "nlohmann/json.hpp"

namespace concertina {
namespace {

// What preprocessing produces must be what the tower takes.
absl::Status CheckPictureSize(const PreprocessConfig& preprocess, int32_t side) {
  const bool exact = preprocess.do_resize && preprocess.shortest_edge == 0;
  if (!preprocess.do_center_crop && !exact) {
    return absl::InvalidArgumentError(
        "preprocessor_config.json: pictures neither cropped nor resized to one size");
  }
  const int32_t height = preprocess.do_center_crop ? preprocess.crop_height : preprocess.height;
  const int32_t width = preprocess.do_center_crop ? preprocess.crop_width : preprocess.width;
  if (height != side || width != side) {
    return absl::InvalidArgumentError(absl::StrCat("preprocessor_config.json makes pictures of ",
                                                   height, "x", width, ", the vision tower takes ",
                                                   side, "x", side));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status LoadVisionParts(const nlohmann::json& config, const std::string& folder,
                             const TensorSource& weights, const LanguageConfig& language,
                             MatrixType type, Model* model) {
  absl::StatusOr<VisionConfig> vision = VisionConfigFromJson(config);
  if (!vision.ok()) return vision.status();
  absl::StatusOr<std::string> text = ReadTextFile(folder + "/preprocessor_config.json");
  if (!text.ok()) return text.status();
  absl::StatusOr<PreprocessConfig> preprocess = PreprocessConfig::FromJson(*text);
  if (!preprocess.ok()) return preprocess.status();
  absl::Status status = CheckPictureSize(*preprocess, vision->image_side);

  ConfigFields fields(config, "model's configuration");
  const char* token_name = fields.Has("image_token_index") ? "image_token_index" : "image_token_id";
  constexpr int64_t kDefaultImageToken = 32000;  // HF LlavaConfig
  const int64_t token = fields.Int(token_name, kDefaultImageToken, 0, INT32_MAX);
  if (token >= language.vocab) {
    fields.Fail(token_name, absl::StrCat("is ", token, ", the vocabulary has ", language.vocab));
  }
  const int64_t length = fields.Int("image_seq_length", vision->tokens(), 1, INT32_MAX);
  if (length != vision->tokens()) {
    fields.Fail("image_seq_length", absl::StrCat("is ", length, ", the vision tower gives ",
                                                 vision->tokens(), " rows per picture"));
  }
  status.Update(fields.status());
  if (!status.ok()) return status;

  absl::StatusOr<std::unique_ptr<VisionEncoder>> encoder =
      VisionEncoder::Load(*vision, weights, language.hidden, type);
  if (!encoder.ok()) return encoder.status();
  model->preprocess = *std::move(preprocess);
  model->image_token = static_cast<TokenId>(token);
  model->image_tokens = (*encoder)->tokens_per_image();
  model->vision = *std::move(encoder);
  return absl::OkStatus();
}

}  // namespace concertina
