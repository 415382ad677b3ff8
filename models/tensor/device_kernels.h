#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "models/tensor/paged_layer.h"
#include "models/tensor/prefill_attention.h"

namespace concertina {

// Ragged decode attention: row r's query attends to the first lengths[r] slots of its own entries.
struct PagedAttentionArgs {
  at::Tensor q;  // [rows, heads, head_dim], rotated
  const PageStore* store = nullptr;
  PagedLayer* layer = nullptr;  // scores, where kept: += mean over the group of the probability
  at::Tensor lengths;           // i32 [rows], at least 1
  int64_t longest = 0;          // no length is above it
  double scale = 1.0;
};

// Removes entries of every row, all heads alike: in each round the entry with the least S among
// those whose index in birth order is in [begin, end), the oldest of several; none where begin ==
// end, nor in the rounds after that. The last slot's entry moves into the hole.
struct EvictArgs {
  const PageStore* store = nullptr;
  PagedLayer* layer = nullptr;
  at::Tensor lengths;  // i32 [rows], before the first round
  at::Tensor ranges;   // i32 [at least `rounds`, 2, rows]: begin, end
  int64_t rounds = 0;
};

// Runs a sequence of device operations on tensors that stay where they are.
class StepRunner {
 public:
  virtual ~StepRunner() = default;
  // Runs `step`, or what it did when it was run for the same `generation`.
  virtual void Run(uint64_t generation, const std::function<void()>& step) = 0;
};

// The operations a device may have kernels of its own for. Stateless; all throw c10::Error.
struct DeviceKernels {
  at::Tensor (*paged_attention)(const PagedAttentionArgs& args);  // [rows, heads, head_dim]
  at::Tensor (*column_sums)(const ColumnSumsArgs& args);          // GenericColumnSums
  void (*evict)(const EvictArgs& args);
  std::unique_ptr<StepRunner> (*make_step_runner)();  // null: steps are run, not captured
};

// Made of elementary operations, for any device.
const DeviceKernels& GenericKernels();

// The best for the device.
const DeviceKernels& KernelsFor(const at::Device& device);

}  // namespace concertina
