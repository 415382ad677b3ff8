#include "models/language/language_config.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "models/config/config_fields.h"
#include "models/weights/tensor_source.h"
#include "nlohmann/json.hpp"

namespace concertina {
namespace {

constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxWidth = int64_t{1} << 20;
constexpr int64_t kMaxHeads = 1024;
constexpr int64_t kMaxHeadDim = 1024;
constexpr int64_t kMaxVocab = int64_t{1} << 22;
constexpr int64_t kMaxPositions = int64_t{1} << 24;
constexpr double kMaxTheta = 1e12;

// theta from `rope_parameters` (transformers >= 5) or `rope_theta`; scaled RoPE is refused.
double RopeTheta(ConfigFields& fields, const std::string& where) {
  double theta = fields.Number("rope_theta", 10000.0, 1.0, kMaxTheta);
  for (const char* name : {"rope_scaling", "rope_parameters"}) {
    const nlohmann::json* object = fields.Object(name);
    if (object == nullptr) continue;
    ConfigFields rope(*object, absl::StrCat(where, ": ", name));
    rope.OneOf(rope.Has("rope_type") ? "rope_type" : "type", "default", {"default"});
    if (rope.Number("partial_rotary_factor", 1.0, 0.0, 1.0) != 1.0) {
      rope.Refuse("partial_rotary_factor", "below 1");
    }
    theta = rope.Number("rope_theta", theta, 1.0, kMaxTheta);
    fields.Adopt(rope.status());
  }
  return theta;
}

// The frequencies must be plain: a factor per pair of dimensions (Llama 3.1 scaling) changes them.
absl::Status CheckRopeFactors(const GgufFile& file, const LanguageConfig& config) {
  constexpr std::string_view kName = "rope_freqs.weight";
  if (file.Find(kName) == nullptr) return absl::OkStatus();
  absl::StatusOr<std::vector<float>> factors = ReadAll(file, kName, {config.head_dim / 2});
  if (!factors.ok()) return factors.status();
  for (float factor : *factors) {
    if (factor != 1.0F) return absl::UnimplementedError("GGUF: scaled RoPE (rope_freqs.weight)");
  }
  return absl::OkStatus();
}

absl::Status CheckGgufFeatures(const GgufFile& file, const LanguageConfig& config) {
  const std::string_view scaling = file.GetString("llama.rope.scaling.type").value_or("none");
  if (scaling != "none") {
    return absl::UnimplementedError(
        absl::StrCat("GGUF: llama.rope.scaling.type ", QuotedName(scaling), " is not supported"));
  }
  if (file.GetFloat("llama.rope.scale_linear").value_or(1.0F) != 1.0F) {
    return absl::UnimplementedError("GGUF: llama.rope.scale_linear is not supported");
  }
  if (file.GetUint("llama.expert_count").value_or(0) != 0) {
    return absl::UnimplementedError("GGUF: mixtures of experts are not supported");
  }
  for (const char* key : {"llama.rope.dimension_count", "llama.attention.key_length",
                          "llama.attention.value_length"}) {
    const uint64_t value = file.GetUint(key).value_or(static_cast<uint64_t>(config.head_dim));
    if (value != static_cast<uint64_t>(config.head_dim)) {
      return absl::UnimplementedError(
          absl::StrCat("GGUF: ", key, " is ", value, ", the head dimension ", config.head_dim));
    }
  }
  return CheckRopeFactors(file, config);
}

// A required positive integer of the metadata.
absl::StatusOr<int32_t> GgufSize(const GgufFile& file, const std::string& key, int64_t max) {
  const std::optional<uint64_t> value = file.GetUint(key);
  if (!value.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat("GGUF: ", key, " is missing or not a number"));
  }
  if (*value < 1 || *value > static_cast<uint64_t>(max)) {
    return absl::InvalidArgumentError(
        absl::StrCat("GGUF: ", key, " is ", *value, ", must be from 1 to ", max));
  }
  return static_cast<int32_t>(*value);
}

}  // namespace

absl::Status CheckLanguageConfig(const LanguageConfig& config) {
  const auto check = [](const char* name, int64_t value, int64_t max) {
    if (value >= 1 && value <= max) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("language model: ", name, " is ", value, ", must be from 1 to ", max));
  };
  for (const absl::Status& status :
       {check("layers", config.layers, kMaxLayers), check("hidden size", config.hidden, kMaxWidth),
        check("intermediate size", config.intermediate, kMaxWidth),
        check("heads", config.heads, kMaxHeads),
        check("key/value heads", config.kv_heads, kMaxHeads),
        check("head dimension", config.head_dim, kMaxHeadDim),
        check("vocabulary", config.vocab, kMaxVocab),
        check("positions", config.max_positions, kMaxPositions)}) {
    if (!status.ok()) return status;
  }
  if (config.heads % config.kv_heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat("language model: ", config.heads,
                                                   " heads are no multiple of ", config.kv_heads,
                                                   " key/value heads"));
  }
  if (config.head_dim % 2 != 0) {
    return absl::InvalidArgumentError("language model: the head dimension is odd");
  }
  if (!(config.rope_theta >= 1.0 && config.rope_theta <= kMaxTheta)) {
    return absl::InvalidArgumentError("language model: RoPE base out of range");
  }
  if (!(config.rms_eps > 0.0F && config.rms_eps < 1.0F)) {
    return absl::InvalidArgumentError("language model: epsilon of the norm out of range");
  }
  return absl::OkStatus();
}

absl::StatusOr<LanguageConfig> LanguageConfigFromJson(const nlohmann::json& json) {
  const std::string where = "language model's configuration";
  ConfigFields fields(json, where);
  fields.OneOf("model_type", "llama", {"llama"});
  fields.OneOf("hidden_act", "silu", {"silu", "swish"});
  if (fields.Bool("attention_bias", false)) fields.Refuse("attention_bias", "true");
  if (fields.Bool("mlp_bias", false)) fields.Refuse("mlp_bias", "true");

  LanguageConfig config;
  config.layers = static_cast<int32_t>(fields.Int("num_hidden_layers", 32, 1, kMaxLayers));
  config.hidden = static_cast<int32_t>(fields.Int("hidden_size", 4096, 1, kMaxWidth));
  config.intermediate = static_cast<int32_t>(fields.Int("intermediate_size", 11008, 1, kMaxWidth));
  config.heads = static_cast<int32_t>(fields.Int("num_attention_heads", 32, 1, kMaxHeads));
  config.kv_heads =
      static_cast<int32_t>(fields.Int("num_key_value_heads", config.heads, 1, kMaxHeads));
  config.head_dim =
      static_cast<int32_t>(fields.Int("head_dim", config.hidden / config.heads, 1, kMaxHeadDim));
  config.vocab = static_cast<int32_t>(fields.Int("vocab_size", 32000, 1, kMaxVocab));
  config.max_positions = fields.Int("max_position_embeddings", 2048, 1, kMaxPositions);
  config.rms_eps = static_cast<float>(fields.Number("rms_norm_eps", 1e-6, 0.0, 1.0));
  config.tied = fields.Bool("tie_word_embeddings", false);
  config.rope_theta = RopeTheta(fields, where);
  if (!fields.status().ok()) return fields.status();
  if (absl::Status status = CheckLanguageConfig(config); !status.ok()) return status;
  return config;
}

absl::StatusOr<LanguageConfig> LanguageConfigFromGguf(const GgufFile& file) {
  const std::string_view architecture = file.GetString("general.architecture").value_or("");
  if (architecture != "llama") {
    return absl::UnimplementedError(
        absl::StrCat("GGUF: architecture ", QuotedName(architecture), " is not supported"));
  }
  LanguageConfig config;
  const std::tuple<const char*, int64_t, int32_t*> sizes[] = {
      {"llama.block_count", kMaxLayers, &config.layers},
      {"llama.embedding_length", kMaxWidth, &config.hidden},
      {"llama.feed_forward_length", kMaxWidth, &config.intermediate},
      {"llama.attention.head_count", kMaxHeads, &config.heads}};
  for (const auto& [key, max, field] : sizes) {
    absl::StatusOr<int32_t> value = GgufSize(file, key, max);
    if (!value.ok()) return value.status();
    *field = *value;
  }
  absl::StatusOr<int32_t> positions = GgufSize(file, "llama.context_length", kMaxPositions);
  if (!positions.ok()) return positions.status();
  config.max_positions = *positions;
  const auto bounded = [](uint64_t value) {
    return static_cast<int32_t>(std::min<uint64_t>(value, INT32_MAX));
  };
  config.kv_heads = bounded(
      file.GetUint("llama.attention.head_count_kv").value_or(static_cast<uint64_t>(config.heads)));
  config.head_dim = bounded(file.GetUint("llama.attention.key_length")
                                .value_or(static_cast<uint64_t>(config.hidden / config.heads)));
  config.rms_eps = file.GetFloat("llama.attention.layer_norm_rms_epsilon").value_or(1e-5F);
  config.rope_theta = static_cast<double>(file.GetFloat("llama.rope.freq_base").value_or(10000.0F));
  const TensorInfo* embedding = file.Find("token_embd.weight");
  if (embedding == nullptr) return absl::NotFoundError("GGUF: token_embd.weight is missing");
  config.vocab = bounded(static_cast<uint64_t>(embedding->rows()));
  config.tied = file.Find("output.weight") == nullptr;
  if (absl::Status status = CheckLanguageConfig(config); !status.ok()) return status;
  if (absl::Status status = CheckGgufFeatures(file, config); !status.ok()) return status;
  return config;
}

}  // namespace concertina
