#include "models/vision/vision_layer.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace concertina {
namespace {

int64_t Bytes(const std::vector<float>& values) {
  return static_cast<int64_t>(values.size() * sizeof(float));
}

}  // namespace

void VisionLinear::Run(const float* x, int64_t rows, float* y, bool accumulate) const {
  matrix->Multiply(x, rows, matrix->k(), y, matrix->n(), accumulate,
                   bias.empty() ? nullptr : bias.data());
}

int64_t VisionLinear::bytes() const { return matrix->bytes() + Bytes(bias); }

int64_t VisionLayer::bytes() const {
  return Bytes(norm1.weight) + Bytes(norm1.bias) + Bytes(norm2.weight) + Bytes(norm2.bias) +
         qkv.bytes() + out.bytes() + fc1.bytes() + fc2.bytes();
}

VisionNorm LoadVisionNorm(TensorFinder& finder, const std::string& stem, int64_t width) {
  return {.weight = finder.Read(absl::StrCat(stem, ".weight"), {width}),
          .bias = finder.Read(absl::StrCat(stem, ".bias"), {width})};
}

void QueueVisionLinear(TensorFinder& finder, const std::vector<std::string>& stems, int64_t rows,
                       int64_t columns, bool has_bias, MatrixType type, PackingQueue& queue,
                       VisionLinear* linear) {
  StackedMatrix stack;
  for (const std::string& stem : stems) {
    finder.Append(absl::StrCat(stem, ".weight"), {rows, columns}, &stack);
    if (!has_bias) continue;
    const std::vector<float> bias = finder.Read(absl::StrCat(stem, ".bias"), {rows});
    linear->bias.insert(linear->bias.end(), bias.begin(), bias.end());
  }
  QueuePacking(finder, std::move(stack), type, queue, &linear->matrix);
}

void QueuePacking(const TensorFinder& finder, StackedMatrix stack, MatrixType type,
                  PackingQueue& queue, std::unique_ptr<PackedMatrix>* matrix) {
  const int64_t cost = stack.rows * stack.columns;
  const TensorSource& source = finder.source();
  queue.Add(cost, [&source, type, matrix, stack = std::move(stack)]() -> absl::Status {
    absl::StatusOr<std::unique_ptr<PackedMatrix>> packed = stack.Pack(source, type);
    if (!packed.ok()) return packed.status();
    *matrix = *std::move(packed);
    return absl::OkStatus();
  });
}

void LoadVisionLayer(TensorFinder& finder, const std::string& prefix, const VisionConfig& config,
                     MatrixType type, PackingQueue& queue, VisionLayer* layer) {
  const int64_t hidden = config.hidden;
  const int64_t inter = config.intermediate;
  const auto name = [&](const char* role) { return absl::StrCat(prefix, role); };
  layer->norm1 = LoadVisionNorm(finder, name("layer_norm1"), hidden);
  layer->norm2 = LoadVisionNorm(finder, name("layer_norm2"), hidden);
  const auto queue_linear = [&](const std::vector<std::string>& stems, int64_t rows,
                                int64_t columns, VisionLinear* linear) {
    QueueVisionLinear(finder, stems, rows, columns, /*has_bias=*/true, type, queue, linear);
  };
  queue_linear({name("self_attn.q_proj"), name("self_attn.k_proj"), name("self_attn.v_proj")},
               hidden, hidden, &layer->qkv);
  queue_linear({name("self_attn.out_proj")}, hidden, hidden, &layer->out);
  queue_linear({name("mlp.fc1")}, inter, hidden, &layer->fc1);
  queue_linear({name("mlp.fc2")}, hidden, inter, &layer->fc2);
}

}  // namespace concertina
