#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "models/language/language_config.h"
#include "models/packing/stacked_matrix.h"
#include "models/weights/tensor_source.h"

namespace concertina {

enum class WeightNaming { kGguf, kHuggingFace };

struct LayerWeights {
  StackedMatrix qkv, out, gate_up, down;
  std::string attention_norm, mlp_norm;  // tensor names
};

// Where the tensors of a Llama model are in a file. Points into `source`.
struct LanguageWeights {
  std::vector<LayerWeights> layers;
  StackedMatrix head;
  const TensorInfo* embedding = nullptr;
  std::string final_norm;
};

// Resolves names and checks every shape against `config`.
// kHuggingFace accepts the names of LlamaForCausalLM and of both LLaVA layouts (before and after
// transformers 4.52): `model.`, `language_model.model.`, `model.language_model.`.
// NOT_FOUND, INVALID_ARGUMENT: names the tensor.
absl::StatusOr<LanguageWeights> FindLanguageWeights(const TensorSource& source, WeightNaming naming,
                                                    const LanguageConfig& config);

// True if the file holds a separate head (`lm_head.weight` under any of the names above).
bool HasLanguageHead(const TensorSource& source);

}  // namespace concertina
