#pragma once

#include <cmath>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/weights/gguf.h"
#include "nlohmann/json_fwd.hpp"

namespace concertina {

// Shape and constants of a Llama model (HF LlamaConfig; GGUF architecture "llama").
struct LanguageConfig {
  int32_t layers = 0;
  int32_t hidden = 0;
  int32_t intermediate = 0;
  int32_t heads = 0;
  int32_t kv_heads = 0;  // divides heads
  int32_t head_dim = 0;  // even; heads * head_dim need not equal hidden
  int32_t vocab = 0;
  double rope_theta = 0;
  float rms_eps = 0;
  int64_t max_positions = 0;  // trained context, tokens
  bool tied = false;          // the head is the embedding

  int64_t q_width() const { return int64_t{heads} * head_dim; }
  int64_t kv_width() const { return int64_t{kv_heads} * head_dim; }
  // 1 / sqrt(head_dim), as Hugging Face's LlamaAttention has it.
  float attention_scale() const {
    return static_cast<float>(1.0 / std::sqrt(double{1} * head_dim));
  }
};

// From a `config.json` of a Llama model, or the `text_config` of a LLaVA one. Absent fields take
// the defaults of HF LlamaConfig. INVALID_ARGUMENT for values that make no sense; UNIMPLEMENTED for
// what is not built (biases, scaled RoPE, other activations), naming the field. `tied` is as stated
// in `json`.
absl::StatusOr<LanguageConfig> LanguageConfigFromJson(const nlohmann::json& json);

// From the metadata of a GGUF file; `tied` when the file has no `output.weight`. Same errors.
absl::StatusOr<LanguageConfig> LanguageConfigFromGguf(const GgufFile& file);

// INVALID_ARGUMENT unless every size is within sane limits and they fit one another.
absl::Status CheckLanguageConfig(const LanguageConfig& config);

}  // namespace concertina
