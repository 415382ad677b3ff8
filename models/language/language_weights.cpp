#include "models/language/language_weights.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/packing/tensor_finder.h"

namespace concertina {
namespace {

// Names of one layer's tensors and of the tensors outside the layers.
struct Names {
  std::string layer_prefix, attention_norm, mlp_norm, q, k, v, out, gate, up, down;
  std::string embedding, final_norm, head;
};

Names GgufNames() {
  return {.layer_prefix = "blk.",
          .attention_norm = "attn_norm",
          .mlp_norm = "ffn_norm",
          .q = "attn_q",
          .k = "attn_k",
          .v = "attn_v",
          .out = "attn_output",
          .gate = "ffn_gate",
          .up = "ffn_up",
          .down = "ffn_down",
          .embedding = "token_embd.weight",
          .final_norm = "output_norm.weight",
          .head = "output.weight"};
}

// Where the decoder and its head are in files of LlamaForCausalLM, of LLaVA as on the hub, and of
// LLaVA as saved since transformers 4.52.
struct Layout {
  const char* model;
  const char* head;
};
constexpr std::array<Layout, 3> kLayouts{
    {{"model.", "lm_head.weight"},
     {"language_model.model.", "language_model.lm_head.weight"},
     {"model.language_model.", "lm_head.weight"}}};

absl::StatusOr<Names> HuggingFaceNames(const TensorSource& source) {
  for (const Layout& layout : kLayouts) {
    std::string embedding = absl::StrCat(layout.model, "embed_tokens.weight");
    if (source.Find(embedding) == nullptr) continue;
    return Names{.layer_prefix = absl::StrCat(layout.model, "layers."),
                 .attention_norm = "input_layernorm",
                 .mlp_norm = "post_attention_layernorm",
                 .q = "self_attn.q_proj",
                 .k = "self_attn.k_proj",
                 .v = "self_attn.v_proj",
                 .out = "self_attn.o_proj",
                 .gate = "mlp.gate_proj",
                 .up = "mlp.up_proj",
                 .down = "mlp.down_proj",
                 .embedding = std::move(embedding),
                 .final_norm = absl::StrCat(layout.model, "norm.weight"),
                 .head = std::string(layout.head)};
  }
  return absl::NotFoundError("no language model in the weights: embed_tokens.weight is missing");
}

// "<stem>.weight" [rows, columns] onto the stack; "<stem>.bias" must not exist.
void Append(TensorFinder& finder, const std::string& stem, int64_t rows, int64_t columns,
            StackedMatrix* stack, int64_t interleaved_head_dim = 0) {
  finder.Append(absl::StrCat(stem, ".weight"), {rows, columns}, stack, interleaved_head_dim);
  finder.Refuse(absl::StrCat(stem, ".bias"));
}

LayerWeights FindLayer(TensorFinder& finder, const Names& names, const LanguageConfig& config,
                       int layer, bool interleaved) {
  const std::string prefix = absl::StrCat(names.layer_prefix, layer, ".");
  const auto name = [&](const std::string& role) { return absl::StrCat(prefix, role); };
  const int64_t pairs = interleaved ? config.head_dim : 0;
  LayerWeights weights;
  Append(finder, name(names.q), config.q_width(), config.hidden, &weights.qkv, pairs);
  Append(finder, name(names.k), config.kv_width(), config.hidden, &weights.qkv, pairs);
  Append(finder, name(names.v), config.kv_width(), config.hidden, &weights.qkv);
  Append(finder, name(names.out), config.hidden, config.q_width(), &weights.out);
  Append(finder, name(names.gate), config.intermediate, config.hidden, &weights.gate_up);
  Append(finder, name(names.up), config.intermediate, config.hidden, &weights.gate_up);
  Append(finder, name(names.down), config.hidden, config.intermediate, &weights.down);
  weights.attention_norm = name(names.attention_norm) + ".weight";
  weights.mlp_norm = name(names.mlp_norm) + ".weight";
  finder.Find(weights.attention_norm, {config.hidden});
  finder.Find(weights.mlp_norm, {config.hidden});
  return weights;
}

}  // namespace

absl::StatusOr<LanguageWeights> FindLanguageWeights(const TensorSource& source, WeightNaming naming,
                                                    const LanguageConfig& config) {
  absl::StatusOr<Names> names =
      naming == WeightNaming::kGguf ? GgufNames() : HuggingFaceNames(source);
  if (!names.ok()) return names.status();
  TensorFinder finder(source);
  LanguageWeights weights;
  for (int32_t layer = 0; layer < config.layers && finder.status().ok(); ++layer) {
    weights.layers.push_back(
        FindLayer(finder, *names, config, layer, naming == WeightNaming::kGguf));
  }
  const std::vector<int64_t> vocabulary{config.vocab, config.hidden};
  weights.embedding = finder.Find(names->embedding, vocabulary);
  finder.Append(config.tied ? names->embedding : names->head, vocabulary, &weights.head);
  weights.final_norm = names->final_norm;
  finder.Find(weights.final_norm, {config.hidden});
  if (!finder.status().ok()) return finder.status();
  return weights;
}

bool HasLanguageHead(const TensorSource& source) {
  return std::any_of(kLayouts.begin(), kLayouts.end(),
                     [&](const Layout& layout) { return source.Find(layout.head) != nullptr; });
}

}  // namespace concertina
