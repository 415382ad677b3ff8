#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "models/kernels/matrix.h"
#include "models/packing/packing_queue.h"
#include "models/packing/stacked_matrix.h"
#include "models/packing/tensor_finder.h"
#include "models/vision/vision_config.h"

namespace concertina {

struct VisionNorm {
  std::vector<float> weight, bias;
};

// y = x W^T + bias; without bias when `bias` is empty.
struct VisionLinear {
  std::unique_ptr<PackedMatrix> matrix;
  std::vector<float> bias;

  void Run(const float* x, int64_t rows, float* y, bool accumulate = false) const;
  int64_t bytes() const;
  int64_t parameters() const { return matrix->n() * matrix->k(); }
};

// Weights of one encoder layer (HF CLIPEncoderLayer); Q, K and V stacked.
struct VisionLayer {
  VisionNorm norm1, norm2;
  VisionLinear qkv, out, fc1, fc2;

  int64_t bytes() const;
};

// Finds the layer `prefix` ("...encoder.layers.0.") and queues its matrices for packing. `layer`
// and the finder's source must live until the queue has run. Faults go to the finder.
void LoadVisionLayer(TensorFinder& finder, const std::string& prefix, const VisionConfig& config,
                     MatrixType type, PackingQueue& queue, VisionLayer* layer);

// "<stem>.weight" and "<stem>.bias", both [width].
VisionNorm LoadVisionNorm(TensorFinder& finder, const std::string& stem, int64_t width);

// The linear maps `stems`, each "<stem>.weight" [rows, columns] and, if `has_bias`, "<stem>.bias"
// [rows], stacked.
void QueueVisionLinear(TensorFinder& finder, const std::vector<std::string>& stems, int64_t rows,
                       int64_t columns, bool has_bias, MatrixType type, PackingQueue& queue,
                       VisionLinear* linear);

void QueuePacking(const TensorFinder& finder, StackedMatrix stack, MatrixType type,
                  PackingQueue& queue, std::unique_ptr<PackedMatrix>* matrix);

}  // namespace concertina
