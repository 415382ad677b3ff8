#include "models/tensor/tensor_decoder.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "models/tensor/device_pass.h"

namespace concertina {
namespace {

std::unique_ptr<PagePool> MakeLedger(const TensorModel& model,
                                     const TensorDecoder::Options& options) {
  const int64_t page =
      DevicePageBytes(model.config().head_dim, options.entries_per_page, model.options());
  return *PagePool::CreateLedger(options.pool_pages * page, page);
}

}  // namespace

TensorDecoder::TensorDecoder(const LanguageConfig& config, TensorWeights weights,
                             const Options& options)
    : model_(config, std::move(weights)),
      kernels_(options.kernels != nullptr ? *options.kernels
                                          : KernelsFor(model_.options().device())),
      ledger_(MakeLedger(model_, options)),
      memory_({.heads = {.layers = config.layers,
                         .kv_heads = config.kv_heads,
                         .head_dim = config.head_dim},
               .seats = options.rows,
               .entries_per_page = options.entries_per_page},
              ledger_.get(), model_.options()),
      step_(model_, kernels_, memory_, options.capture),
      rows_(static_cast<size_t>(options.rows)) {}

absl::Status TensorDecoder::SetPolicy(const std::string& name, const PolicyOptions& options,
                                      const Budget& budget) {
  if (absl::Status status = DeviceCache::CheckBudget(budget); !status.ok()) return status;
  absl::StatusOr<DevicePolicy> policy = DevicePolicy::Make(name, options);
  if (!policy.ok()) return policy.status();
  for (auto& row : rows_) row.reset();
  memory_.SetKeepsScores(policy->policy().needs_scores());
  policy_ = *std::move(policy);
  budget_ = budget;
  return absl::OkStatus();
}

absl::Status TensorDecoder::CheckPrompt(int64_t row, std::span<const int32_t> ids) const {
  const auto count = static_cast<int64_t>(ids.size());
  const int64_t first = seen(row);
  if (count < 1 || first + count > model_.config().max_positions) {
    return absl::InvalidArgumentError(absl::StrCat("a prompt of ", count, " tokens after ", first,
                                                   " of at most ", model_.config().max_positions));
  }
  return CheckIds(ids);
}

absl::Status TensorDecoder::CheckIds(std::span<const int32_t> ids) const {
  for (const int32_t id : ids) {
    if (id < 0 || id >= model_.config().vocab) {
      return absl::InvalidArgumentError(absl::StrCat("token ", id, " is not in the vocabulary"));
    }
  }
  return absl::OkStatus();
}

absl::Status TensorDecoder::Prefill(int64_t row, std::span<const int32_t> ids) {
  if (!rows_[row]) rows_[row] = std::make_unique<DeviceCache>(&memory_, *policy_, budget_);
  DeviceCache& cache = *rows_[row];
  DevicePass pass(model_, kernels_, cache, model_.Embed(model_.IdsOnDevice(ids)), {});
  if (absl::Status status = pass.Begin(); !status.ok()) return status;
  while (!pass.finished()) {
    const absl::StatusOr<bool> through = pass.Step(pass.tokens());
    if (!through.ok()) return through.status();
  }
  cache.SitDown(row);
  step_.SetLogits(row, model_.Logits(pass.output()));
  return absl::OkStatus();
}

absl::Status TensorDecoder::Decode(std::span<const int32_t> ids) {
  if (!ids.empty() && ids.size() != rows_.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(ids.size(), " tokens for ", rows_.size(), " rows"));
  }
  if (absl::Status status = CheckIds(ids); !status.ok()) return status;
  std::vector<DeviceRow> rows;
  for (size_t row = 0; row < rows_.size(); ++row) {
    if (!rows_[row]) continue;
    if (!rows_[row]->FitsContext(1, model_.config().max_positions)) {
      return absl::FailedPreconditionError(absl::StrCat("row ", row, " is at the context's end"));
    }
    if (rows_[row]->seat() < 0) rows_[row]->SitDown(static_cast<int64_t>(row));
    rows.push_back({.cache = rows_[row].get(), .status = absl::OkStatus()});
    if (!ids.empty()) rows.back().token = ids[row];
  }
  step_.Plan(rows);
  for (const DeviceRow& row : rows) {
    if (!row.status.ok()) return row.status;
  }
  step_.Run();
  for (const DeviceRow& row : rows) row.cache->CommitToken();
  return absl::OkStatus();
}

}  // namespace concertina
