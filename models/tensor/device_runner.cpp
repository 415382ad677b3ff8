#include "models/tensor/device_runner.h"

#include <ATen/ops/from_blob.h>

#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "models/tensor/device_pass.h"
#include "models/tensor/device_step.h"
#include "models/tensor/tensor_options.h"

namespace concertina {
namespace {

class DeviceRunner final : public ModelRunner {
 public:
  // Throws c10::Error.
  DeviceRunner(const DeviceModel& model, int32_t rows, PagePool* pool)
      : device_(model),
        model_(model.tensors()),
        kernels_(KernelsFor(model_.options().device())),
        memory_({.heads = {.layers = model_.config().layers,
                           .kv_heads = model_.config().kv_heads,
                           .head_dim = model_.config().head_dim},
                 .seats = rows},
                pool, model_.options()),
        step_(model_, kernels_, memory_, /*capture=*/true) {}

  RunnerTraits traits() const override {
    return {.only_entry_type = device_.entry_type(),
            .byte_budgets = false,
            .rebases = false,
            .forks = false,
            .turn_rules = false,
            .probes = false};
  }

  absl::StatusOr<std::unique_ptr<ConversationCache>> MakeCache(const CacheSpec& spec) override {
    auto policy = DevicePolicy::Make(spec.policy, spec.policy_options);
    if (!policy.ok()) return policy.status();
    return std::make_unique<DeviceCache>(&memory_, *std::move(policy), spec.budget);
  }

  absl::Status Embed(std::span<const int32_t> ids, float* x) override {
    return Guarded([&] {
      const at::Tensor rows = model_.Embed(model_.IdsOnDevice(ids));
      at::from_blob(x, {rows.size(0), rows.size(1)}).copy_(rows);
      return absl::OkStatus();
    });
  }

  std::unique_ptr<PromptPass> MakePass(ConversationCache& cache, std::vector<float> embeddings,
                                       PromptPass::Options options) override {
    return std::make_unique<DevicePass>(model_, kernels_, static_cast<DeviceCache&>(cache),
                                        std::move(embeddings), options);
  }

  absl::StatusOr<std::unique_ptr<PromptPass>> MakeProbe(ConversationCache&, std::vector<float>,
                                                        int64_t, bool) override {
    return absl::UnimplementedError("the device reads no tokens again");
  }

  void Decode(std::span<DecodeRow> rows) override {
    const absl::Status status = Guarded([&] {
      Step(rows);
      return absl::OkStatus();
    });
    if (status.ok()) return;
    for (DecodeRow& row : rows) {
      static_cast<DeviceCache&>(*row.cache).Break();
      row.status = status;
    }
  }

  absl::StatusOr<const float*> Logits(const float* x, int64_t n) override {
    absl::Status status = Guarded([&] {
      const at::Tensor rows =
          at::from_blob(const_cast<float*>(x), {n, model_.config().hidden}).to(model_.options());
      logits_ = model_.Logits(rows).cpu().contiguous();
      return absl::OkStatus();
    });
    if (!status.ok()) return status;
    return logits_.const_data_ptr<float>();
  }

  int64_t bytes() const override {
    return logits_.defined() ? static_cast<int64_t>(logits_.nbytes()) : 0;
  }

  // Embeddings and their copy in the model's type; LibTorch's own scratch is not counted.
  int64_t PassBytesBound(int64_t positions) const override {
    return 2 * positions * model_.config().hidden * static_cast<int64_t>(sizeof(float));
  }

  int64_t device_bytes() const override {
    if (!device_.accelerator()) return 0;
    return device_.weight_bytes() + static_cast<int64_t>(memory_.store().rows.nbytes()) +
           memory_.metadata_bytes();
  }

 private:
  void Step(std::span<DecodeRow> rows) {
    device_rows_.clear();
    for (const DecodeRow& row : rows) {
      device_rows_.push_back({.cache = &static_cast<DeviceCache&>(*row.cache),
                              .token = row.token,
                              .adapter = row.adapter,
                              .status = absl::OkStatus()});
    }
    step_.Plan(device_rows_);
    step_.Run();
    logits_ = step_.logits().cpu().contiguous();
    for (size_t i = 0; i < rows.size(); ++i) {
      rows[i].status = device_rows_[i].status;
      if (!rows[i].status.ok()) continue;
      DeviceCache& cache = *device_rows_[i].cache;
      rows[i].evicted = cache.CommitToken();
      rows[i].logits = logits_.const_data_ptr<float>() + cache.seat() * model_.config().vocab;
    }
  }

  const DeviceModel& device_;
  const TensorModel& model_;
  const DeviceKernels& kernels_;
  DeviceMemory memory_;
  DeviceStep step_;
  std::vector<DeviceRow> device_rows_;
  at::Tensor logits_;  // on the host
};

}  // namespace

absl::StatusOr<std::unique_ptr<ModelRunner>> MakeDeviceRunner(const DeviceModel& model,
                                                              int32_t rows, PagePool* pool) {
  const int64_t pages = pool->capacity_bytes() / pool->page_bytes();
  if (pages >= std::numeric_limits<int32_t>::max()) {  // numbered in 32 bits on the device
    return absl::InvalidArgumentError(absl::StrCat("a pool of ", pages, " pages is too large"));
  }
  std::unique_ptr<ModelRunner> runner;
  absl::Status status = Guarded([&] {
    runner = std::make_unique<DeviceRunner>(model, rows, pool);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return runner;
}

}  // namespace concertina
