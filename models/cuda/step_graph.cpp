// Not run on a GPU by us.
#include "models/cuda/step_graph.h"

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <optional>

namespace concertina {
namespace {

class StepGraph final : public StepRunner {
 public:
  void Run(uint64_t generation, const std::function<void()>& step) override {
    if (generation != generation_) {
      generation_ = generation;
      graph_.reset();
      step();
      return;
    }
    if (!graph_.has_value()) Capture(step);
    // What was queued on this stream before (the plan, the tables) is read by the graph.
    graph_->replay();
  }

 private:
  // Capturing runs nothing; it must not be on the default stream.
  void Capture(const std::function<void()>& step) {
    const c10::cuda::CUDAStream current = c10::cuda::getCurrentCUDAStream();
    current.synchronize();
    graph_.emplace();
    const c10::cuda::CUDAStreamGuard guard(
        c10::cuda::getStreamFromPool(/*isHighPriority=*/false, current.device_index()));
    try {
      graph_->capture_begin();
      step();
      graph_->capture_end();
    } catch (...) {
      graph_.reset();
      throw;
    }
  }

  uint64_t generation_ = 0;  // the cache's first is 1
  std::optional<at::cuda::CUDAGraph> graph_;
};

}  // namespace

std::unique_ptr<StepRunner> MakeStepGraph() { return std::make_unique<StepGraph>(); }

}  // namespace concertina
