#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "models/tensor/device_cache.h"
#include "models/tensor/device_kernels.h"
#include "models/tensor/device_memory.h"
#include "models/tensor/step_plan.h"
#include "models/tensor/tensor_model.h"

namespace concertina {

// One token of one conversation in a step.
struct DeviceRow {
  DeviceCache* cache = nullptr;
  std::optional<int32_t> token;  // empty: the likeliest after the last one
  bool adapter = false;
  absl::Status status;  // set by Plan: not OK if the token cannot be taken in
};

// Decode steps: one token for each of several conversations, each of which has a seat in a batch of
// fixed size. Seats without a row are computed too and write to a page of their own, so that a step
// is the same sequence of operations whoever sits. Throws c10::Error; engine thread only.
class DeviceStep {
 public:
  // `capture`: replay steps where the kernels can.
  DeviceStep(const TensorModel& model, const DeviceKernels& kernels, DeviceMemory& memory,
             bool capture);

  // Gives every row a seat, and those who are not in the step leave theirs. A row whose status is
  // not OK then is as it was, without a seat. REQUIRES: at most as many rows as seats; distinct
  // caches, all intact.
  void Plan(std::span<DeviceRow> rows);
  // Runs the step that was planned.
  void Run();

  // f32 [seats, vocab], of each seat's newest token.
  const at::Tensor& logits() const { return logits_; }
  // As if the seat's newest token had these logits [1, vocab].
  void SetLogits(int64_t seat, const at::Tensor& logits);

  const StepPlan& plan() const { return plan_; }

 private:
  void SeatRows(std::span<DeviceRow> rows);
  void PlanRounds(std::span<DeviceRow> rows);
  void PlanTokens(std::span<const DeviceRow> rows);
  void Step();
  at::Tensor Attend(int layer, const TensorModel::Projected& projected);

  const TensorModel& model_;
  const DeviceKernels& kernels_;
  DeviceMemory& memory_;
  std::unique_ptr<StepRunner> runner_;  // null: steps are run one operation after another
  StepPlan plan_;
  at::Tensor tokens_;   // i64 [seats]: the next step's
  at::Tensor adapter_;  // bool [seats, 1]; undefined without an adapter
  at::Tensor logits_;
  std::vector<int64_t> longest_, rounds_;  // [layer], of the step planned
};

}  // namespace concertina
