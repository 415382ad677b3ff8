#include "models/tensor/device_step.h"

#include <ATen/ops/zeros.h>

#include <algorithm>

namespace concertina {
namespace {

// Evictions of a layer in one step, as a rule: for the entry appended, and one more where a share
// moves to another layer. When a layer first meets its share, more may go at once.
constexpr int64_t kUsualRounds = 2;

}  // namespace

DeviceStep::DeviceStep(const TensorModel& model, const DeviceKernels& kernels, DeviceMemory& memory,
                       bool capture)
    : model_(model),
      kernels_(kernels),
      memory_(memory),
      plan_(model.config().layers, memory.shape().seats, kUsualRounds, model.options().device()),
      tokens_(at::zeros({memory.shape().seats}, model.options().dtype(at::kLong))),
      logits_(at::zeros({memory.shape().seats, model.config().vocab},
                        model.options().dtype(at::kFloat))),
      longest_(static_cast<size_t>(model.config().layers)),
      rounds_(longest_.size()) {
  if (model.has_adapter()) {
    adapter_ = at::zeros({memory.shape().seats, 1}, model.options().dtype(at::kBool));
  }
  if (capture && kernels.make_step_runner != nullptr) runner_ = kernels.make_step_runner();
}

void DeviceStep::SeatRows(std::span<DeviceRow> rows) {
  std::vector<bool> stays(static_cast<size_t>(memory_.shape().seats));
  for (const DeviceRow& row : rows) {
    if (row.cache->seat() >= 0) stays[static_cast<size_t>(row.cache->seat())] = true;
  }
  for (size_t seat = 0; seat < stays.size(); ++seat) {
    DeviceCache* cache = memory_.at(static_cast<int64_t>(seat));
    if (cache != nullptr && !stays[seat]) cache->EndDecode();
  }
  for (const DeviceRow& row : rows) {
    if (row.cache->seat() < 0) row.cache->SitDown(memory_.FreeSeat());
  }
}

// Each row's shares; makes the plan large enough for its evictions.
void DeviceStep::PlanRounds(std::span<DeviceRow> rows) {
  int64_t rounds = kUsualRounds;
  std::fill(rounds_.begin(), rounds_.end(), 0);
  for (const DeviceRow& row : rows) {
    rounds = std::max(rounds, row.cache->PlanShares());
    for (size_t layer = 0; layer < rounds_.size(); ++layer) {
      const int64_t surplus = row.cache->planned_surplus(static_cast<int64_t>(layer));
      rounds_[layer] = std::max(rounds_[layer], surplus);
    }
  }
  if (rounds == plan_.rounds()) return;
  plan_ =
      StepPlan(model_.config().layers, memory_.shape().seats, rounds, model_.options().device());
  memory_.NewGeneration();
}

void DeviceStep::PlanTokens(std::span<const DeviceRow> rows) {
  const int64_t seats = memory_.shape().seats;
  at::Tensor tokens = at::zeros({seats}, at::TensorOptions().dtype(at::kLong));
  at::Tensor given = at::zeros({seats}, at::TensorOptions().dtype(at::kBool));
  at::Tensor adapter = at::zeros({seats, 1}, at::TensorOptions().dtype(at::kBool));
  for (const DeviceRow& row : rows) {
    if (!row.status.ok()) continue;
    const int64_t seat = row.cache->seat();
    tokens.mutable_data_ptr<int64_t>()[seat] = row.token.value_or(0);
    given.mutable_data_ptr<bool>()[seat] = row.token.has_value();
    adapter.mutable_data_ptr<bool>()[seat] = row.adapter;
  }
  const at::Device device = model_.options().device();
  if (given.any().item<bool>()) tokens_.copy_(tokens.to(device).where(given.to(device), tokens_));
  if (adapter_.defined()) adapter_.copy_(adapter);
}

void DeviceStep::Plan(std::span<DeviceRow> rows) {
  SeatRows(rows);
  PlanRounds(rows);
  plan_.Clear();
  for (DeviceRow& row : rows) {
    row.status = row.cache->Plan(&plan_);
    if (row.status.ok()) continue;
    plan_.Clear(row.cache->seat());
    row.cache->EndDecode();
  }
  std::fill(longest_.begin(), longest_.end(), 1);
  for (const DeviceRow& row : rows) {
    if (!row.status.ok()) continue;
    for (size_t layer = 0; layer < longest_.size(); ++layer) {
      const int64_t length = row.cache->OldEntries(static_cast<int>(layer)) + 1;
      longest_[layer] = std::max(longest_[layer], length);
    }
  }
  PlanTokens(rows);
  memory_.UploadTables();
  plan_.Upload();
}

void DeviceStep::Run() {
  if (runner_ != nullptr) {
    runner_->Run(memory_.generation(), [this] { Step(); });
  } else {
    Step();
  }
}

void DeviceStep::SetLogits(int64_t seat, const at::Tensor& logits) {
  logits_.narrow(0, seat, 1).copy_(logits);
  tokens_.narrow(0, seat, 1).copy_(logits.argmax(1));
}

// Device operations only, on tensors that stay where they are until the generation changes.
void DeviceStep::Step() {
  at::Tensor x = model_.Embed(tokens_);
  const TensorModel::Rotation rotation = model_.RotationOf(plan_.positions());
  for (int index = 0; index < model_.config().layers; ++index) {
    PagedLayer& layer = memory_.layer(index);
    const TensorModel::Projected projected = model_.Qkv(index, x, rotation, adapter_);
    AppendEntries(memory_.store(), projected.k, projected.v, plan_.slots(index), plan_.positions(),
                  &layer);
    x = model_.AfterAttention(index, x, Attend(index, projected), adapter_);
    const int64_t rounds = runner_ != nullptr ? plan_.rounds() : rounds_[index];
    if (memory_.keeps_scores() && rounds > 0) {
      kernels_.evict({.store = &memory_.store(),
                      .layer = &layer,
                      .lengths = plan_.lengths(index),
                      .ranges = plan_.ranges(index),
                      .rounds = rounds});
    }
  }
  logits_.copy_(model_.Logits(x));
  tokens_.copy_(logits_.argmax(1));
}

// [seats, heads * head_dim]
at::Tensor DeviceStep::Attend(int layer, const TensorModel::Projected& projected) {
  PagedLayer& paged = memory_.layer(layer);
  const int64_t longest =
      runner_ != nullptr ? paged.capacity(memory_.store()) : longest_[static_cast<size_t>(layer)];
  return kernels_
      .paged_attention({.q = projected.q,
                        .store = &memory_.store(),
                        .layer = &paged,
                        .lengths = plan_.lengths(layer),
                        .longest = longest,
                        .scale = static_cast<double>(model_.config().attention_scale())})
      .view({memory_.shape().seats, model_.config().q_width()});
}

}  // namespace concertina
