#include "models/image/preprocess_config.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace concertina {
namespace {

using Json = nlohmann::json;

constexpr int32_t kMaxSide = 16384;
constexpr int kMaxDepth = 64;  // of the JSON tree

absl::Status Invalid(absl::string_view field, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("preprocessor config: ", field, " ", why));
}

// nullptr when the field is absent or null, which HF treats alike.
const Json* Field(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

absl::Status ReadBool(const Json& root, const char* name, bool& out) {
  const Json* field = Field(root, name);
  if (field == nullptr) return absl::OkStatus();
  if (!field->is_boolean()) return Invalid(name, "must be true or false");
  out = field->get<bool>();
  return absl::OkStatus();
}

absl::Status ReadSide(const Json& value, absl::string_view name, int32_t& out) {
  if (!value.is_number_integer()) return Invalid(name, "must be an integer");
  const int64_t side = value.is_number_unsigned() && value.get<uint64_t>() > kMaxSide
                           ? int64_t{kMaxSide} + 1
                           : value.get<int64_t>();
  if (side < 1 || side > kMaxSide) return Invalid(name, absl::StrCat("must be 1 to ", kMaxSide));
  out = static_cast<int32_t>(side);
  return absl::OkStatus();
}

absl::Status ReadHeightWidth(const Json& value, absl::string_view name, int32_t& height,
                             int32_t& width) {
  const Json* height_field = Field(value, "height");
  const Json* width_field = Field(value, "width");
  if (height_field == nullptr || width_field == nullptr || value.size() != 2) {
    return Invalid(name, "must have height and width, and nothing else");
  }
  if (absl::Status status = ReadSide(*height_field, name, height); !status.ok()) return status;
  return ReadSide(*width_field, name, width);
}

absl::Status ReadSize(const Json& root, PreprocessConfig& out) {
  const Json* size = Field(root, "size");
  if (size == nullptr) return absl::OkStatus();
  if (!size->is_object()) return ReadSide(*size, "size", out.shortest_edge);
  if (const Json* edge = Field(*size, "shortest_edge"); edge != nullptr && size->size() == 1) {
    return ReadSide(*edge, "size.shortest_edge", out.shortest_edge);
  }
  out.shortest_edge = 0;
  return ReadHeightWidth(*size, "size", out.height, out.width);
}

absl::Status ReadCropSize(const Json& root, PreprocessConfig& out) {
  const Json* size = Field(root, "crop_size");
  if (size == nullptr) return absl::OkStatus();
  if (size->is_object()) {
    return ReadHeightWidth(*size, "crop_size", out.crop_height, out.crop_width);
  }
  absl::Status status = ReadSide(*size, "crop_size", out.crop_height);
  out.crop_width = out.crop_height;
  return status;
}

absl::Status ReadResample(const Json& root, PreprocessConfig& out) {
  const Json* field = Field(root, "resample");
  if (field == nullptr) return absl::OkStatus();
  // The numbers of PIL.Image.Resampling.
  if (*field == 1 && field->is_number_integer()) {
    out.resample = ResizeFilter::kLanczos;
  } else if (*field == 2 && field->is_number_integer()) {
    out.resample = ResizeFilter::kBilinear;
  } else if (*field == 3 && field->is_number_integer()) {
    out.resample = ResizeFilter::kBicubic;
  } else {
    return Invalid("resample", "must be 1 (Lanczos), 2 (bilinear) or 3 (bicubic)");
  }
  return absl::OkStatus();
}

// A number for all channels or an array of one each.
absl::Status ReadChannels(const Json& root, const char* name, std::array<float, 3>& out) {
  const Json* field = Field(root, name);
  if (field == nullptr) return absl::OkStatus();
  if (!field->is_number() && !(field->is_array() && field->size() == out.size())) {
    return Invalid(name, "must be a number or three numbers");
  }
  for (size_t channel = 0; channel < out.size(); ++channel) {
    const Json& value = field->is_array() ? (*field)[channel] : *field;
    if (!value.is_number()) return Invalid(name, "must be a number or three numbers");
    out[channel] = value.get<float>();
    if (!std::isfinite(out[channel])) return Invalid(name, "is out of range");
  }
  return absl::OkStatus();
}

absl::Status ReadRescaleFactor(const Json& root, PreprocessConfig& out) {
  const Json* field = Field(root, "rescale_factor");
  if (field == nullptr) return absl::OkStatus();
  if (!field->is_number()) return Invalid("rescale_factor", "must be a number");
  out.rescale_factor = field->get<double>();
  if (!std::isfinite(static_cast<float>(255.0 * out.rescale_factor))) {
    return Invalid("rescale_factor", "is out of range");
  }
  return absl::OkStatus();
}

// Other classes give the same fields another meaning; some pad or tile.
absl::Status CheckClass(const Json& root) {
  for (const char* name : {"image_processor_type", "feature_extractor_type"}) {
    const Json* field = Field(root, name);
    if (field == nullptr) continue;
    const std::string type = field->is_string() ? field->get<std::string>() : "";
    if (type != "CLIPImageProcessor" && type != "CLIPImageProcessorFast" &&
        type != "CLIPImageProcessorPil" && type != "CLIPFeatureExtractor") {
      return Invalid(name, "must be CLIPImageProcessor");
    }
  }
  bool do_pad = false;
  if (absl::Status status = ReadBool(root, "do_pad", do_pad); !status.ok()) return status;
  return do_pad ? Invalid("do_pad", "is not supported") : absl::OkStatus();
}

}  // namespace

absl::StatusOr<PreprocessConfig> PreprocessConfig::FromJson(
    std::string_view preprocessor_config_json) {
  bool too_deep = false;
  const auto limit_depth = [&](int depth, Json::parse_event_t, Json&) {
    too_deep = too_deep || depth > kMaxDepth;
    return depth <= kMaxDepth;
  };
  const Json root = Json::parse(preprocessor_config_json, limit_depth, /*allow_exceptions=*/false);
  if (too_deep) return Invalid("values", "are nested too deeply");
  if (!root.is_object()) {
    return absl::InvalidArgumentError("preprocessor config: not a JSON object");
  }
  PreprocessConfig config;
  for (const absl::Status& status :
       {CheckClass(root), ReadBool(root, "do_convert_rgb", config.do_convert_rgb),
        ReadBool(root, "do_resize", config.do_resize), ReadSize(root, config),
        ReadResample(root, config), ReadBool(root, "do_center_crop", config.do_center_crop),
        ReadCropSize(root, config), ReadBool(root, "do_rescale", config.do_rescale),
        ReadRescaleFactor(root, config), ReadBool(root, "do_normalize", config.do_normalize),
        ReadChannels(root, "image_mean", config.mean),
        ReadChannels(root, "image_std", config.std)}) {
    if (!status.ok()) return status;
  }
  for (float deviation : config.std) {
    if (deviation == 0.0f) return Invalid("image_std", "must not be zero");
  }
  if (int64_t{config.crop_height} * config.crop_width > config.max_resized_pixels) {
    return Invalid("crop_size", "is too large");
  }
  return config;
}

}  // namespace concertina
