#include "tests/support/tiny_llama.h"

#include <tuple>
#include <utility>
#include <vector>

namespace concertina::testing {

LanguageConfig TinyLlamaConfig() {
  return {.layers = 2,
          .hidden = 20,
          .intermediate = 36,
          .heads = 6,
          .kv_heads = 2,
          .head_dim = 8,
          .vocab = 50,
          .rope_theta = 500.0,
          .rms_eps = 1e-5F,
          .max_positions = 128,
          .tied = false};
}

MemorySource TinyLlama(const LanguageConfig& config, const std::string& prefix,
                       const std::string& head) {
  MemorySource source;
  const int64_t hidden = config.hidden;
  const auto set = [&](const std::string& name, std::vector<int64_t> shape) {
    source.SetRandom(name + ".weight", std::move(shape), 0.4F);
  };
  set(prefix + "embed_tokens", {config.vocab, hidden});
  set(prefix + "norm", {hidden});
  if (!config.tied) source.SetRandom(head, {config.vocab, hidden}, 0.4F);
  for (int layer = 0; layer < config.layers; ++layer) {
    const std::string stem = prefix + "layers." + std::to_string(layer) + ".";
    set(stem + "input_layernorm", {hidden});
    set(stem + "post_attention_layernorm", {hidden});
    set(stem + "self_attn.q_proj", {config.q_width(), hidden});
    set(stem + "self_attn.k_proj", {config.kv_width(), hidden});
    set(stem + "self_attn.v_proj", {config.kv_width(), hidden});
    set(stem + "self_attn.o_proj", {hidden, config.q_width()});
    set(stem + "mlp.gate_proj", {config.intermediate, hidden});
    set(stem + "mlp.up_proj", {config.intermediate, hidden});
    set(stem + "mlp.down_proj", {hidden, config.intermediate});
  }
  return source;
}

std::vector<int32_t> SomeIds(const LanguageConfig& config, int32_t count, int32_t from) {
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < count; ++i) ids.push_back((i * i + 5 * i + from) % config.vocab);
  return ids;
}

MemorySource TinyAdapter(const LanguageConfig& config) {
  MemorySource source;
  const std::tuple<const char*, int64_t, int64_t, int64_t> projections[] = {
      {"q_proj", config.q_width(), config.hidden, 3},
      {"k_proj", config.kv_width(), config.hidden, 2},
      {"v_proj", config.kv_width(), config.hidden, 5},
      {"o_proj", config.hidden, config.q_width(), 4}};
  for (int layer = 0; layer < config.layers; ++layer) {
    for (const auto& [name, out, in, rank] : projections) {
      const std::string stem =
          "language_model.model.layers." + std::to_string(layer) + ".self_attn." + name + ".lora_";
      source.SetRandom(stem + "A.weight", {rank, in}, 0.4F);
      source.SetRandom(stem + "B.weight", {out, rank}, 0.4F);
    }
  }
  return source;
}

}  // namespace concertina::testing
