#include "models/kernels/decode_attention.h"

#include <algorithm>
#include <cstring>

#include "models/kernels/isa.h"
#include "models/kernels/parallel.h"

namespace concertina {
namespace {

int64_t ElementBytes(KvType type) { return type == KvType::kF32 ? 4 : 2; }

void StoreRow(const float* from, const PageLayout& layout, uint8_t* to) {
  if (layout.type == KvType::kF32) {
    std::memcpy(to, from, static_cast<size_t>(layout.head_dim) * sizeof(float));
    return;
  }
  // Pages need not be aligned for 16-bit stores, so convert through a small aligned piece.
  uint16_t piece[64];
  for (int64_t i = 0; i < layout.head_dim; i += 64) {
    const int64_t count = std::min<int64_t>(64, layout.head_dim - i);
    isa::Active().to_bf16(from + i, count, piece);
    std::memcpy(to + 2 * i, piece, static_cast<size_t>(2 * count));
  }
}

void LoadRow(const uint8_t* from, const PageLayout& layout, float* to) {
  if (layout.type == KvType::kF32) {
    std::memcpy(to, from, static_cast<size_t>(layout.head_dim) * sizeof(float));
    return;
  }
  uint16_t piece[64];
  for (int64_t i = 0; i < layout.head_dim; i += 64) {
    const int64_t count = std::min<int64_t>(64, layout.head_dim - i);
    std::memcpy(piece, from + 2 * i, static_cast<size_t>(2 * count));
    isa::Active().from_bf16(piece, count, false, nullptr, to + i);
  }
}

}  // namespace

void DecodeAttention(std::span<const DecodeItem> items, const PageLayout& layout, float scale,
                     Workspace& workspace) {
  const isa::Kernels& kernels = isa::Active();
  const auto score_row = [&](const DecodeItem& item) {
    return (item.head.entries + kernels.lanes - 1) / kernels.lanes * kernels.lanes;
  };
  int64_t scratch = 0;
  for (const DecodeItem& item : items) scratch = std::max(scratch, item.group * score_row(item));
  scratch = (scratch + 15) / 16 * 16;
  float* scores = workspace.Floats(0, scratch * Threads());
  ParallelTasks(static_cast<int64_t>(items.size()), [&](int worker, int64_t index) {
    const DecodeItem& item = items[static_cast<size_t>(index)];
    kernels.decode({.pages = item.head.pages,
                    .entries = item.head.entries,
                    .entries_per_page = item.head.entries_per_page,
                    .head_dim = layout.head_dim,
                    .k_offset = layout.k_offset,
                    .v_offset = layout.v_offset,
                    .bf16 = layout.type == KvType::kBf16,
                    .q = item.q,
                    .group = item.group,
                    .scale = scale,
                    .bias = item.bias,
                    .out = item.out,
                    .score_sums = item.score_sums,
                    .scores = scores + worker * scratch,
                    .score_row = score_row(item)});
  });
}

void StoreEntry(uint8_t* page, int64_t slot, const PageLayout& layout, const float* k,
                const float* v) {
  const int64_t row = slot * layout.head_dim * ElementBytes(layout.type);
  StoreRow(k, layout, page + layout.k_offset + row);
  StoreRow(v, layout, page + layout.v_offset + row);
}

void LoadEntry(const uint8_t* page, int64_t slot, const PageLayout& layout, float* k, float* v) {
  const int64_t row = slot * layout.head_dim * ElementBytes(layout.type);
  if (k != nullptr) LoadRow(page + layout.k_offset + row, layout, k);
  if (v != nullptr) LoadRow(page + layout.v_offset + row, layout, v);
}

}  // namespace concertina
