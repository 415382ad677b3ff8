#include "models/tensor/tensor_engine.h"

#include <ATen/core/Tensor.h>

#include <functional>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/tensor/tensor_decoder.h"
#include "models/tensor/tensor_model.h"
#include "models/tensor/tensor_options.h"

namespace concertina {
namespace {

absl::Status CheckOptions(const LanguageConfig& config, const TensorEngineOptions& options) {
  if (absl::Status status = CheckLanguageConfig(config); !status.ok()) return status;
  // Pages are numbered in 32 bits on the device.
  if (options.rows < 1 || options.entries_per_page < 1 || options.pool_pages < 1 ||
      options.pool_pages >= std::numeric_limits<int32_t>::max()) {
    return absl::InvalidArgumentError("rows, pages or entries per page out of range");
  }
  return absl::OkStatus();
}

using MakeWeights = std::function<absl::StatusOr<TensorWeights>(const at::TensorOptions&)>;

absl::StatusOr<std::unique_ptr<TensorDecoder>> MakeDecoder(const LanguageConfig& config,
                                                           const TensorEngineOptions& options,
                                                           const MakeWeights& make_weights) {
  if (absl::Status status = CheckOptions(config, options); !status.ok()) return status;
  std::unique_ptr<TensorDecoder> decoder;
  absl::Status status = Guarded([&] {
    absl::StatusOr<TensorWeights> weights =
        make_weights(TensorOptionsOf(options.device, options.type));
    if (!weights.ok()) return weights.status();
    const TensorDecoder::Options kind{.rows = options.rows,
                                      .pool_pages = options.pool_pages,
                                      .entries_per_page = options.entries_per_page,
                                      .capture = options.capture};
    decoder = std::make_unique<TensorDecoder>(config, *std::move(weights), kind);
    return decoder->SetPolicy(options.policy, options.policy_options, options.budget);
  });
  if (!status.ok()) return status;
  return decoder;
}

template <typename T>
std::vector<T> ToVector(const at::Tensor& tensor) {
  const at::Tensor host = tensor.cpu().contiguous();
  const T* values = host.const_data_ptr<T>();
  return {values, values + host.numel()};
}

TensorEngine::HeadEntries OfHead(const LayerEntries& all, int64_t head) {
  TensorEngine::HeadEntries entries{.k = ToVector<float>(all.k.select(0, head).to(at::kFloat)),
                                    .v = ToVector<float>(all.v.select(0, head).to(at::kFloat))};
  if (!all.score.defined()) return entries;
  for (const int32_t birth : ToVector<int32_t>(all.birth.select(0, head))) {
    entries.births.push_back(static_cast<uint32_t>(birth));
  }
  entries.scores = ToVector<float>(all.score.select(0, head));
  entries.masses = ToVector<int32_t>(all.mass.select(0, head));
  return entries;
}

}  // namespace

TensorEngine::TensorEngine(std::unique_ptr<TensorDecoder> decoder) : decoder_(std::move(decoder)) {}
TensorEngine::~TensorEngine() = default;

absl::StatusOr<std::unique_ptr<TensorEngine>> TensorEngine::Load(
    const LanguageConfig& config, const TensorSource& source, WeightNaming naming,
    const TensorEngineOptions& options) {
  auto decoder = MakeDecoder(config, options, [&](const at::TensorOptions& kind) {
    return LoadTensorWeights(config, source, naming, kind);
  });
  if (!decoder.ok()) return decoder.status();
  return std::unique_ptr<TensorEngine>(new TensorEngine(*std::move(decoder)));
}

absl::StatusOr<std::unique_ptr<TensorEngine>> TensorEngine::Random(
    const LanguageConfig& config, uint64_t seed, const TensorEngineOptions& options) {
  auto decoder = MakeDecoder(config, options, [&](const at::TensorOptions& kind) {
    return RandomTensorWeights(config, seed, kind);
  });
  if (!decoder.ok()) return decoder.status();
  return std::unique_ptr<TensorEngine>(new TensorEngine(*std::move(decoder)));
}

const LanguageConfig& TensorEngine::config() const { return decoder_->model().config(); }

absl::Status TensorEngine::SetPolicy(const std::string& name, const PolicyOptions& options,
                                     const Budget& budget) {
  return Guarded([&] { return decoder_->SetPolicy(name, options, budget); });
}

absl::Status TensorEngine::Prefill(int32_t row, std::span<const int32_t> ids) {
  if (row < 0 || row >= decoder_->rows()) {
    return absl::InvalidArgumentError(absl::StrCat("row ", row, " of ", decoder_->rows()));
  }
  absl::Status status = decoder_->CheckPrompt(row, ids);
  if (!status.ok()) return status;
  status = Guarded([&] { return decoder_->Prefill(row, ids); });
  if (!status.ok()) Close(row);
  return status;
}

absl::Status TensorEngine::Decode(std::span<const int32_t> ids) {
  return Guarded([&] { return decoder_->Decode(ids); });
}

absl::StatusOr<std::vector<float>> TensorEngine::Logits() const {
  std::vector<float> logits;
  absl::Status status = Guarded([&] {
    logits = ToVector<float>(decoder_->logits());
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return logits;
}

void TensorEngine::Close(int32_t row) { decoder_->Close(row); }

absl::Status TensorEngine::Synchronize() const {
  return Guarded([&] {
    decoder_->logits().narrow(1, 0, 1).cpu();  // a copy to the host waits for what came before it
    return absl::OkStatus();
  });
}

int32_t TensorEngine::entries(int32_t row, int32_t layer) const {
  const DeviceCache* cache = decoder_->row(row);
  return cache == nullptr ? 0 : cache->OldEntries(layer);
}
int64_t TensorEngine::seen(int32_t row) const {
  const DeviceCache* cache = decoder_->row(row);
  return cache == nullptr ? 0 : cache->seen();
}
int64_t TensorEngine::weight_bytes() const { return decoder_->model().weight_bytes(); }
int64_t TensorEngine::used_bytes() const { return decoder_->used_bytes(); }
int64_t TensorEngine::metadata_bytes() const { return decoder_->memory().metadata_bytes(); }

absl::StatusOr<TensorEngine::HeadEntries> TensorEngine::Contents(int32_t row, int32_t layer,
                                                                 int32_t head) const {
  HeadEntries entries;
  if (decoder_->row(row) == nullptr) return entries;
  absl::Status status = Guarded([&] {
    entries = OfHead(decoder_->row(row)->Contents(layer), head);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return entries;
}

}  // namespace concertina
