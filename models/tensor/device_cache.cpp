#include "models/tensor/device_cache.h"

#include <ATen/ops/zeros.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace concertina {
namespace {

// Tables grow by this many entries (rounded up to whole pages): a captured step lasts that long.
constexpr int64_t kGrowEntries = 256;

// Evictions of a layer in one step, as a rule: for the entry appended, and one more where a share
// moves to another layer. When a layer first meets its share, more may go at once.
constexpr int64_t kUsualRounds = 2;

int64_t Bytes(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<int64_t>(tensor.nbytes()) : 0;
}

}  // namespace

StepPlan::StepPlan(int64_t layers, int64_t rows, int64_t rounds, const at::Device& device)
    : layers_(layers), rows_(rows), rounds_(rounds) {
  const at::TensorOptions ints = at::TensorOptions().dtype(at::kInt);
  host_ = at::zeros({Base(layers), rows}, ints);
  device_ = at::zeros({Base(layers), rows}, ints.device(device));
  values_ = host_.mutable_data_ptr<int32_t>();
}

void StepPlan::Clear() {
  host_.zero_();
  for (int64_t layer = 0; layer < layers_; ++layer) {
    for (int64_t row = 0; row < rows_; ++row) length(layer, row) = 1;
  }
}

DeviceCache::DeviceCache(const DeviceCacheShape& shape, const at::TensorOptions& options)
    : shape_(shape),
      layout_(shape.heads, EntryType::kBf16, PageBytesFor(shape.heads)),
      store_{.rows = at::zeros(
                 {(shape.pages + 1) * 2 * shape.entries_per_page, int64_t{shape.heads.head_dim}},
                 options),
             .entries_per_page = shape.entries_per_page},
      layers_(static_cast<size_t>(shape.heads.layers)),
      table_changed_(layers_.size()),
      rows_(static_cast<size_t>(shape.rows)),
      plan_(shape.heads.layers, shape.rows, kUsualRounds, options.device()),
      longest_(layers_.size()),
      rounds_(layers_.size()) {
  for (Row& row : rows_) row.layers.resize(layers_.size());
  // Handed out from the lowest on; page 0 is for rows that are not open.
  for (int64_t page = shape.pages; page > 0; --page) {
    free_pages_.push_back(static_cast<int32_t>(page));
  }
}

void DeviceCache::SetPolicy(const DevicePolicy& policy, const Budget& budget) {
  for (int64_t row = 0; row < shape_.rows; ++row) Close(row);
  policy_ = std::make_unique<DevicePolicy>(policy);
  budget_ = budget;
  std::fill(layers_.begin(), layers_.end(), PagedLayer{});
  ++generation_;
}

void DeviceCache::Close(int64_t row) {
  for (int64_t layer = 0; layer < shape_.heads.layers; ++layer) {
    ReleasePages(row, layer, 0);
    rows_[row].layers[layer] = {};
  }
  rows_[row].open = false;
  rows_[row].seen = 0;
}

std::vector<int32_t> DeviceCache::Shares(const Row& row, int64_t seen, int32_t more) const {
  std::vector<int32_t> holds;
  for (const RowLayer& layer : row.layers) holds.push_back(layer.entries + more);
  if (policy_->keeps_everything()) return holds;
  return ResolveBudget(budget_, seen, policy_->policy().slope_r(), holds, layout_, shape_.heads)
      .shares;
}

absl::Status DeviceCache::HoldPages(int64_t row, int64_t layer, int64_t entries) {
  const int64_t per_page = store_.entries_per_page;
  const int64_t step = (kGrowEntries + per_page - 1) / per_page * per_page;
  const bool keeps_scores = policy_->policy().needs_scores();
  if (GrowLayer(store_, shape_.rows, kv_heads(), entries, step, keeps_scores, &layers_[layer])) {
    ++generation_;
    table_changed_[layer] = true;
  }
  std::vector<int32_t>& pages = rows_[row].layers[layer].pages;
  const int64_t wanted = (entries + per_page - 1) / per_page * kv_heads();
  const int64_t missing = wanted - static_cast<int64_t>(pages.size());
  if (missing <= 0) return absl::OkStatus();
  if (missing > static_cast<int64_t>(free_pages_.size())) {
    return absl::ResourceExhaustedError(
        absl::StrCat("row ", row, " lacks ", missing, " pages, ", free_pages_.size(), " are free"));
  }
  pages.insert(pages.end(), free_pages_.rbegin(), free_pages_.rbegin() + missing);
  free_pages_.resize(free_pages_.size() - static_cast<size_t>(missing));
  table_changed_[layer] = true;
  return absl::OkStatus();
}

// The device reads the pages in the order of its operations, so they can be handed out at once.
void DeviceCache::ReleasePages(int64_t row, int64_t layer, int64_t entries) {
  const int64_t per_page = store_.entries_per_page;
  std::vector<int32_t>& pages = rows_[row].layers[layer].pages;
  const auto wanted = static_cast<size_t>((entries + per_page - 1) / per_page * kv_heads());
  if (pages.size() <= wanted) return;
  free_pages_.insert(free_pages_.end(), pages.rbegin(),
                     pages.rend() - static_cast<int64_t>(wanted));
  pages.resize(wanted);
  table_changed_[layer] = true;
}

void DeviceCache::UploadTables() {
  for (size_t l = 0; l < layers_.size(); ++l) {
    at::Tensor& table = layers_[l].table;
    if (!table_changed_[l] || !table.defined()) continue;
    at::Tensor host = at::zeros(table.sizes(), at::TensorOptions().dtype(at::kInt));
    int32_t* values = host.mutable_data_ptr<int32_t>();
    for (size_t row = 0; row < rows_.size(); ++row) {
      const std::vector<int32_t>& pages = rows_[row].layers[l].pages;
      for (size_t i = 0; i < pages.size(); ++i) {
        const int64_t head = static_cast<int64_t>(i) % kv_heads();
        const int64_t page = static_cast<int64_t>(i) / kv_heads();
        values[(static_cast<int64_t>(row) * kv_heads() + head) * table.size(2) + page] = pages[i];
      }
    }
    table.copy_(host);
    table_changed_[l] = false;
  }
}

void DeviceCache::BeginPrefill(int64_t row, int64_t tokens) {
  rows_[row].open = true;
  shares_ = Shares(rows_[row], rows_[row].seen + tokens, static_cast<int32_t>(tokens));
  rows_[row].seen += tokens;
}

LayerEntries DeviceCache::Held(int64_t row, int64_t layer) const {
  LayerEntries entries = Contents(row, layer);
  if (entries.score.defined()) entries.score = AsStored(entries.score);
  return entries;
}

absl::Status DeviceCache::Fold(int64_t row, int64_t layer, const LayerEntries& all) {
  RowLayer& held = rows_[row].layers[layer];
  const int64_t before = held.entries;
  LayerEntries kept = all;
  int64_t first = 0;
  if (policy_->keeps_everything()) {  // the entries held stay where they are
    first = before;
    kept.k = all.k.narrow(1, before, all.k.size(1) - before);
    kept.v = all.v.narrow(1, before, all.v.size(1) - before);
  } else {
    kept = policy_->Fold(all, shares_[layer], rows_[row].seen);
    ReleasePages(row, layer, 0);
  }
  held.entries = static_cast<int32_t>(first + kept.k.size(1));
  held.entries_at_fold = held.entries;
  if (absl::Status status = HoldPages(row, layer, held.entries); !status.ok()) return status;
  UploadTables();
  WriteEntries(store_, kept, row, first, &layers_[layer]);
  return absl::OkStatus();
}

absl::Status DeviceCache::PlanStep() {
  const std::vector<std::vector<int32_t>> shares = PlanShares();
  plan_.Clear();
  std::fill(longest_.begin(), longest_.end(), 1);
  for (int64_t row = 0; row < shape_.rows; ++row) {
    if (!rows_[row].open) continue;
    if (absl::Status status = PlanRow(row, shares[row]); !status.ok()) return status;
  }
  UploadTables();
  plan_.Upload();
  return absl::OkStatus();
}

std::vector<std::vector<int32_t>> DeviceCache::PlanShares() {
  std::vector<std::vector<int32_t>> shares(rows_.size());
  std::fill(rounds_.begin(), rounds_.end(), 0);
  int64_t rounds = kUsualRounds;
  for (size_t row = 0; row < rows_.size(); ++row) {
    if (!rows_[row].open) continue;
    shares[row] = Shares(rows_[row], rows_[row].seen + 1, 1);
    for (size_t layer = 0; layer < layers_.size(); ++layer) {
      const int64_t surplus = rows_[row].layers[layer].entries + 1 - shares[row][layer];
      rounds_[layer] = std::max(rounds_[layer], surplus);
      rounds = std::max(rounds, surplus);
    }
  }
  if (rounds != plan_.rounds()) {
    plan_ = StepPlan(shape_.heads.layers, shape_.rows, rounds, store_.rows.device());
    ++generation_;
  }
  return shares;
}

absl::Status DeviceCache::PlanRow(int64_t row, const std::vector<int32_t>& shares) {
  plan_.position(row) = static_cast<int32_t>(rows_[row].seen);
  for (int64_t layer = 0; layer < shape_.heads.layers; ++layer) {
    const int32_t entries = rows_[row].layers[layer].entries + 1;
    if (absl::Status status = HoldPages(row, layer, entries); !status.ok()) return status;
    plan_.slot(layer, row) = entries - 1;
    plan_.length(layer, row) = entries;
    longest_[layer] = std::max<int64_t>(longest_[layer], entries);
    PlanEvictions(row, layer, shares[layer]);
  }
  return absl::OkStatus();
}

void DeviceCache::PlanEvictions(int64_t row, int64_t layer, int32_t share) {
  RowLayer& held = rows_[row].layers[layer];
  int32_t entries = held.entries + 1;
  for (int64_t round = 0; entries > share; ++round, --entries) {
    const IndexRange range = policy_->VictimRange(entries, share, held.entries_at_fold);
    plan_.begin(layer, round, row) = range.begin;
    plan_.end(layer, round, row) = range.end;
  }
  held.entries_planned = entries;
}

void DeviceCache::CommitStep() {
  for (int64_t row = 0; row < shape_.rows; ++row) {
    if (!rows_[row].open) continue;
    ++rows_[row].seen;
    for (int64_t layer = 0; layer < shape_.heads.layers; ++layer) {
      RowLayer& held = rows_[row].layers[layer];
      held.entries = held.entries_planned;
      ReleasePages(row, layer, held.entries + 1);  // the next step appends before it evicts
    }
  }
}

int64_t DeviceCache::used_bytes() const {
  const int64_t page = 2 * store_.entries_per_page * store_.rows.size(1) *
                       static_cast<int64_t>(store_.rows.element_size());
  return (shape_.pages - static_cast<int64_t>(free_pages_.size())) * page;
}

int64_t DeviceCache::metadata_bytes() const {
  int64_t bytes = 0;
  for (const PagedLayer& layer : layers_) {
    bytes += Bytes(layer.table) + Bytes(layer.order) + Bytes(layer.scores) + Bytes(layer.birth) +
             Bytes(layer.mass);
  }
  return bytes;
}

LayerEntries DeviceCache::Contents(int64_t row, int64_t layer) const {
  return ReadEntries(store_, layers_[layer], row, rows_[row].layers[layer].entries);
}

}  // namespace concertina
