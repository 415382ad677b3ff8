#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "models/tensor/tensor_model.h"

namespace concertina {
namespace {

// One matrix of a stack: "<prefix>.lora_A.weight" [rank, in], "<prefix>.lora_B.weight" [out, rank].
struct Part {
  std::string name;
  int64_t out;
};

absl::StatusOr<int64_t> RankOf(const TensorSource& source, const std::string& a_name) {
  const TensorInfo* a = source.Find(a_name);
  if (a == nullptr) {
    return absl::NotFoundError(absl::StrCat("adapter: tensor ", a_name, " is missing"));
  }
  if (a->shape.size() != 2 || a->shape[0] < 1) {
    return absl::InvalidArgumentError(absl::StrCat("adapter: tensor ", a_name, " is no matrix"));
  }
  return a->shape[0];
}

// Reads a matrix into the block of `to` that begins at a row and a column.
absl::Status ReadBlock(const TensorSource& source, const std::string& name, int64_t rows,
                       int64_t columns, const at::Tensor& to, int64_t row, int64_t column) {
  absl::StatusOr<std::vector<float>> values = ReadAll(source, name, {rows, columns});
  if (!values.ok()) return values.status();
  to.narrow(0, row, rows)
      .narrow(1, column, columns)
      .copy_(at::from_blob(values->data(), {rows, columns}));
  return absl::OkStatus();
}

absl::StatusOr<TensorAdapter> Load(const TensorSource& source, int64_t in,
                                   const std::vector<Part>& parts,
                                   const at::TensorOptions& options) {
  std::vector<int64_t> ranks;
  int64_t rank = 0, out = 0;
  for (const Part& part : parts) {
    const absl::StatusOr<int64_t> own = RankOf(source, part.name + ".lora_A.weight");
    if (!own.ok()) return own.status();
    ranks.push_back(*own);
    rank += *own;
    out += part.out;
  }
  TensorAdapter adapter{.down = at::zeros({rank, in}, options),
                        .up = at::zeros({out, rank}, options)};
  int64_t row = 0, column = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const Part& part = parts[i];
    absl::Status status =
        ReadBlock(source, part.name + ".lora_A.weight", ranks[i], in, adapter.down, column, 0);
    if (!status.ok()) return status;
    status = ReadBlock(source, part.name + ".lora_B.weight", part.out, ranks[i], adapter.up, row,
                       column);
    if (!status.ok()) return status;
    row += part.out;
    column += ranks[i];
  }
  return adapter;
}

}  // namespace

absl::Status AddTensorAdapters(const LanguageConfig& config, const TensorSource& source,
                               const at::TensorOptions& options, TensorWeights* weights) {
  for (size_t i = 0; i < weights->layers.size(); ++i) {
    const std::string prefix = absl::StrCat("language_model.model.layers.", i, ".self_attn.");
    auto qkv = Load(source, config.hidden,
                    {{prefix + "q_proj", config.q_width()},
                     {prefix + "k_proj", config.kv_width()},
                     {prefix + "v_proj", config.kv_width()}},
                    options);
    if (!qkv.ok()) return qkv.status();
    auto out = Load(source, config.q_width(), {{prefix + "o_proj", config.hidden}}, options);
    if (!out.ok()) return out.status();
    weights->layers[i].qkv_adapter = *std::move(qkv);
    weights->layers[i].out_adapter = *std::move(out);
  }
  return absl::OkStatus();
}

}  // namespace concertina
