#include "models/tensor/device_memory.h"

#include <ATen/ops/zeros.h>

#include <algorithm>

#include "models/tensor/device_cache.h"

namespace concertina {
namespace {

// Tables grow by this many entries (rounded up to whole pages): a captured step lasts that long.
constexpr int64_t kGrowEntries = 256;

int64_t Bytes(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<int64_t>(tensor.nbytes()) : 0;
}

// Writes `pages` [page][kv_head] to table [kv_heads][columns].
void FillTable(std::span<const PageId> pages, int64_t kv_heads, int64_t columns, int32_t* table) {
  for (size_t i = 0; i < pages.size(); ++i) {
    const int64_t head = static_cast<int64_t>(i) % kv_heads;
    const int64_t page = static_cast<int64_t>(i) / kv_heads;
    table[head * columns + page] = static_cast<int32_t>(pages[i]) + 1;
  }
}

}  // namespace

int64_t DevicePageBytes(int32_t head_dim, int32_t entries_per_page,
                        const at::TensorOptions& options) {
  return int64_t{2} * entries_per_page * head_dim *
         static_cast<int64_t>(options.dtype().itemsize());
}

DeviceMemory::DeviceMemory(const DeviceMemoryShape& shape, PagePool* ledger,
                           const at::TensorOptions& options)
    : shape_(shape),
      ledger_(ledger),
      store_{.rows = at::zeros({(ledger->capacity_bytes() / ledger->page_bytes() + 1) * 2 *
                                    shape.entries_per_page,
                                int64_t{shape.heads.head_dim}},
                               options),
             .entries_per_page = shape.entries_per_page},
      layers_(static_cast<size_t>(shape.heads.layers)),
      table_changed_(layers_.size()),
      seats_(static_cast<size_t>(shape.seats)) {}

at::Tensor DeviceMemory::TableOf(std::span<const PageId> pages, int64_t columns) const {
  at::Tensor host = at::zeros({1, kv_heads(), columns}, at::TensorOptions().dtype(at::kInt));
  FillTable(pages, kv_heads(), columns, host.mutable_data_ptr<int32_t>());
  return host.to(store_.rows.device());
}

void DeviceMemory::SetKeepsScores(bool keeps_scores) {
  keeps_scores_ = keeps_scores;
  std::fill(layers_.begin(), layers_.end(), PagedLayer{});
  NewGeneration();
}

int64_t DeviceMemory::FreeSeat() const {
  const auto found = std::find(seats_.begin(), seats_.end(), nullptr);
  return found == seats_.end() ? -1 : found - seats_.begin();
}

void DeviceMemory::Take(int64_t seat, DeviceCache* cache) {
  seats_[seat] = cache;
  std::fill(table_changed_.begin(), table_changed_.end(), true);
}

void DeviceMemory::Leave(int64_t seat) {
  seats_[seat] = nullptr;
  std::fill(table_changed_.begin(), table_changed_.end(), true);
}

void DeviceMemory::Grow(int64_t layer, int64_t entries) {
  const int64_t per_page = shape_.entries_per_page;
  const int64_t step = (kGrowEntries + per_page - 1) / per_page * per_page;
  if (!GrowLayer(store_, shape_.seats, kv_heads(), entries, step, keeps_scores_, &layers_[layer])) {
    return;
  }
  NewGeneration();
  table_changed_[layer] = true;
}

void DeviceMemory::UploadTables() {
  for (size_t l = 0; l < layers_.size(); ++l) {
    at::Tensor& table = layers_[l].table;
    if (!table_changed_[l] || !table.defined()) continue;
    at::Tensor host = at::zeros(table.sizes(), at::TensorOptions().dtype(at::kInt));
    int32_t* values = host.mutable_data_ptr<int32_t>();
    const int64_t columns = table.size(2);
    for (size_t seat = 0; seat < seats_.size(); ++seat) {
      if (seats_[seat] == nullptr) continue;
      FillTable(seats_[seat]->pages(static_cast<int64_t>(l)), kv_heads(), columns,
                values + static_cast<int64_t>(seat) * kv_heads() * columns);
    }
    table.copy_(host);
    table_changed_[l] = false;
  }
}

int64_t DeviceMemory::metadata_bytes() const {
  int64_t bytes = 0;
  for (const PagedLayer& layer : layers_) {
    bytes += Bytes(layer.table) + Bytes(layer.order) + Bytes(layer.scores) + Bytes(layer.birth) +
             Bytes(layer.mass);
  }
  return bytes;
}

}  // namespace concertina
