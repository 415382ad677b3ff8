#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "cache/entry_layout.h"
#include "cache/page_pool.h"
#include "models/tensor/paged_layer.h"

namespace concertina {

class DeviceCache;

inline constexpr int32_t kDeviceEntriesPerPage = 16;

// Of a page of K and V in the type of `options`.
int64_t DevicePageBytes(int32_t head_dim, int32_t entries_per_page,
                        const at::TensorOptions& options);

struct DeviceMemoryShape {
  CacheShape heads;
  int32_t seats = 0;  // rows of a decode step
  int32_t entries_per_page = kDeviceEntriesPerPage;
};

// Where the entries of all conversations of one device lie. Their pages are counted by a PagePool
// without memory of its own: its page p is page p + 1 here, page 0 is for seats nobody has. What is
// kept beside the pages lies with each conversation between its turns, and in the tensors of a seat
// while it decodes, so that a step works on tensors that stay where they are. Throws c10::Error;
// engine thread only.
class DeviceMemory {
 public:
  DeviceMemory(const DeviceMemoryShape& shape, PagePool* ledger, const at::TensorOptions& options);
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  const DeviceMemoryShape& shape() const { return shape_; }
  int64_t kv_heads() const { return shape_.heads.kv_heads; }
  PagePool* ledger() const { return ledger_; }
  const PageStore& store() const { return store_; }
  int64_t PagesFor(int64_t entries) const {  // of one head
    return (entries + shape_.entries_per_page - 1) / shape_.entries_per_page;
  }
  // i32 [1, kv_heads, columns] on the device: the table of `pages` [page][kv_head].
  at::Tensor TableOf(std::span<const PageId> pages, int64_t columns) const;

  // Whether S, births and masses are kept; without, only policies that drop nothing may be used.
  bool keeps_scores() const { return keeps_scores_; }
  // Forgets what the seats have had. REQUIRES: nobody sits.
  void SetKeepsScores(bool keeps_scores);

  // --- the seats ---
  PagedLayer& layer(int64_t index) { return layers_[index]; }
  // Changes when tensors of the seats were replaced.
  uint64_t generation() const { return generation_; }
  void NewGeneration() { ++generation_; }
  int64_t FreeSeat() const;  // the lowest; -1 when all are taken
  DeviceCache* at(int64_t seat) const { return seats_[seat]; }
  void Take(int64_t seat, DeviceCache* cache);
  void Leave(int64_t seat);
  // Makes a layer's tensors large enough for `entries` entries.
  void Grow(int64_t layer, int64_t entries);
  // Pages of a seat changed; UploadTables tells the device.
  void TableChanged(int64_t layer) { table_changed_[layer] = true; }
  void UploadTables();

  int64_t metadata_bytes() const;  // of the seats

 private:
  DeviceMemoryShape shape_;
  PagePool* ledger_;
  PageStore store_;
  bool keeps_scores_ = true;
  std::vector<PagedLayer> layers_;
  std::vector<bool> table_changed_;  // [layer]: the device's table is not the host's
  std::vector<DeviceCache*> seats_;  // null: free
  uint64_t generation_ = 0;
};

}  // namespace concertina
