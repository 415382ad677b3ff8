#include "models/kernels/block_matrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "models/kernels/isa.h"
#include "models/kernels/parallel.h"
#include "models/kernels/workspace.h"
#include "models/weights/half.h"

namespace concertina {
namespace {

// Rows read, and panels packed, at a time.
constexpr int64_t kPanelsAtOnce = 8;
// Multiplications worth waking another thread for.
constexpr int64_t kProductGrain = 1 << 15;
constexpr int64_t kQuantizeGrain = 1 << 14;

enum Slot : size_t { kQuants, kScales, kSums };

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

isa::BlockLayout PanelLayout(const BlockFormat& format) {
  if (format.bits == 4) {
    return format.minima ? isa::BlockLayout::kNibblesMinima : isa::BlockLayout::kNibbles;
  }
  return format.minima ? isa::BlockLayout::kBytesMinima : isa::BlockLayout::kBytes;
}

int64_t ScaleBytes(const BlockFormat& format) { return format.minima ? 4 : 2; }

Workspace& Scratch() {
  static thread_local Workspace workspace;
  return workspace;
}

// Activations as the kernels take them.
struct QuantizedRows {
  const int8_t* quants;
  const float* scales;
  const float* sums;
};

class BlockMatrix final : public PackedMatrix {
 public:
  BlockMatrix(MatrixType type, int64_t n, int64_t k, const BlockFormat& format,
              const isa::Kernels& kernels, AlignedBuffer panels)
      : PackedMatrix(type, n, k),
        format_(format),
        kernels_(kernels),
        blocks_(k / kWeightBlock),
        panel_bytes_(PanelBytes(kernels, format, k)),
        panels_(std::move(panels)) {}

  static int64_t PanelBytes(const isa::Kernels& kernels, const BlockFormat& format, int64_t k) {
    return k / kWeightBlock * kernels.panel_columns *
           (ScaleBytes(format) + kWeightBlock * format.bits / 8);
  }

  void Multiply(const float* x, int64_t m, int64_t ldx, float* y, int64_t ldy, bool accumulate,
                const float* bias) const override {
    if (m <= 0) return;
    const QuantizedRows rows = Quantize(x, m, ldx);
    const int64_t columns = kernels_.panel_columns;
    const int64_t grain = std::max<int64_t>(1, kProductGrain / (columns * k()));
    ParallelFor(0, CeilDiv(n(), columns), grain, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        const isa::BlockTile tile{.layout = PanelLayout(format_),
                                  .panel = Panel(p),
                                  .blocks = blocks_,
                                  .centre = format_.centre,
                                  .a = rows.quants,
                                  .a_row = k(),
                                  .a_scales = rows.scales,
                                  .a_sums = rows.sums,
                                  .scale_row = blocks_,
                                  .rows = 0,
                                  .columns = std::min(columns, n() - p * columns),
                                  .c = y + p * columns,
                                  .c_row = ldy,
                                  .accumulate = accumulate,
                                  .bias = bias == nullptr ? nullptr : bias + p * columns};
        MultiplyPanel(tile, m);
      }
    });
  }

  int64_t bytes() const override { return static_cast<int64_t>(panels_.bytes()); }

 private:
  const uint8_t* Panel(int64_t p) const {
    return reinterpret_cast<const uint8_t*>(panels_.data()) + p * panel_bytes_;
  }

  QuantizedRows Quantize(const float* x, int64_t m, int64_t ldx) const {
    auto* quants = reinterpret_cast<int8_t*>(Scratch().Floats(kQuants, m * k() / 4));
    float* scales = Scratch().Floats(kScales, m * blocks_);
    float* sums = Scratch().Floats(kSums, m * blocks_);
    const int64_t grain = std::max<int64_t>(1, kQuantizeGrain / k());
    ParallelFor(0, m, grain, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        kernels_.quantize_row(x + r * ldx, blocks_, quants + r * k(), scales + r * blocks_,
                              sums + r * blocks_);
      }
    });
    return {quants, scales, sums};
  }

  void MultiplyPanel(isa::BlockTile tile, int64_t m) const {
    // Even tiles: 8 rows are 4 + 4, not 6 + 2.
    const int64_t tiles = CeilDiv(m, kernels_.block_tile_rows);
    const int64_t rows = CeilDiv(m, tiles);
    // A panel's first tile waits for memory and the others, which find it in a cache, leave memory
    // idle: they fetch the next one. A single tile streams, which the CPU foresees by itself.
    tile.next = tile.panel + panel_bytes_;
    tile.next_bytes = tiles > 1 ? panel_bytes_ / tiles : 0;
    for (int64_t r = 0; r < m; r += tile.rows) {
      tile.rows = std::min(rows, m - r);
      kernels_.multiply_blocks(tile);
      tile.next += tile.next_bytes;
      tile.a += tile.rows * tile.a_row;
      tile.a_scales += tile.rows * tile.scale_row;
      tile.a_sums += tile.rows * tile.scale_row;
      tile.c += tile.rows * tile.c_row;
    }
  }

  BlockFormat format_;
  const isa::Kernels& kernels_;
  int64_t blocks_;
  int64_t panel_bytes_;
  AlignedBuffer panels_;
};

// One panel from `count` rows: per block scales, minima, then quads of elements column by column.
void LayOutPanel(const BlockRows& rows, int64_t count, int64_t k, int64_t columns,
                 const BlockFormat& format, uint8_t* panel) {
  const int64_t blocks = k / kWeightBlock;
  for (int64_t b = 0; b < blocks; ++b) {
    for (int64_t j = 0; j < count; ++j) {
      std::memcpy(panel + 2 * j, rows.scales + j * blocks + b, 2);
      if (format.minima) {
        std::memcpy(panel + 2 * (columns + j), rows.minima + j * blocks + b, 2);
      }
    }
    panel += columns * ScaleBytes(format);
    for (int64_t j = 0; j < count; ++j) {
      const uint8_t* from = rows.quants + j * k + b * kWeightBlock;
      for (int64_t i = 0; i < kWeightBlock; ++i) {
        if (format.bits == 8) {
          panel[(i / 4 * columns + j) * 4 + i % 4] = from[i];
        } else {
          const int64_t half = i % (kWeightBlock / 2);
          const int shift = i < kWeightBlock / 2 ? 0 : 4;
          uint8_t& pair = panel[(half / 4 * columns + j) * 4 + half % 4];
          pair = static_cast<uint8_t>(pair | (from[i] << shift));
        }
      }
    }
    panel += columns * kWeightBlock * format.bits / 8;
  }
}

void QuantizeWeights(const float* w, int64_t count, const BlockRows& out) {
  for (int64_t b = 0; b < count / kWeightBlock; ++b) {
    float top = 0;
    for (int64_t i = 0; i < kWeightBlock; ++i) top = std::max(top, std::fabs(w[i]));
    out.scales[b] = FloatToHalf(top / 127.0f);
    const float scale = HalfToFloat(out.scales[b]);
    for (int64_t i = 0; i < kWeightBlock; ++i) {
      const float quant = scale > 0 ? std::nearbyint(w[i] / scale) : 0.0f;
      out.quants[b * kWeightBlock + i] =
          static_cast<uint8_t>(std::clamp(quant, -127.0f, 127.0f) + 128.0f);
    }
    w += kWeightBlock;
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<PackedMatrix>> PackBlockMatrix(MatrixType type, int64_t n, int64_t k,
                                                              const BlockFormat& format,
                                                              BlockReader read_rows) {
  const isa::Kernels& kernels = isa::Active();
  const int64_t columns = kernels.panel_columns;
  const int64_t blocks = k / kWeightBlock;
  const int64_t panel_bytes = BlockMatrix::PanelBytes(kernels, format, k);
  try {
    AlignedBuffer panels(static_cast<size_t>(CeilDiv(n, columns) * panel_bytes));
    auto* base = reinterpret_cast<uint8_t*>(panels.data());
    std::memset(base, 0, panels.bytes());
    const int64_t step = kPanelsAtOnce * columns;
    std::vector<uint8_t> quants(static_cast<size_t>(step * k));
    std::vector<uint16_t> scales(static_cast<size_t>(step * blocks));
    std::vector<uint16_t> minima(format.minima ? scales.size() : 0);
    for (int64_t begin = 0; begin < n; begin += step) {
      const int64_t end = std::min(n, begin + step);
      const BlockRows rows{quants.data(), scales.data(), format.minima ? minima.data() : nullptr};
      if (absl::Status status = read_rows(begin, end, rows); !status.ok()) return status;
      ParallelFor(0, CeilDiv(end - begin, columns), 1, [&](int64_t first, int64_t last) {
        for (int64_t p = first; p < last; ++p) {
          const BlockRows part{rows.quants + p * columns * k, rows.scales + p * columns * blocks,
                               format.minima ? rows.minima + p * columns * blocks : nullptr};
          LayOutPanel(part, std::min(columns, end - begin - p * columns), k, columns, format,
                      base + (begin / columns + p) * panel_bytes);
        }
      });
    }
    return std::make_unique<BlockMatrix>(type, n, k, format, kernels, std::move(panels));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for matrix ", n, " x ", k));
  }
}

absl::StatusOr<std::unique_ptr<PackedMatrix>> PackInt8Matrix(int64_t n, int64_t k,
                                                             PackedMatrix::RowReader read_rows) {
  std::vector<float> floats;
  const auto read = [&](int64_t begin, int64_t end, const BlockRows& out) -> absl::Status {
    floats.resize(static_cast<size_t>((end - begin) * k));
    if (absl::Status status = read_rows(begin, end, floats.data()); !status.ok()) return status;
    QuantizeWeights(floats.data(), (end - begin) * k, out);
    return absl::OkStatus();
  };
  return PackBlockMatrix(MatrixType::kInt8, n, k, BlockFormat{}, read);
}

}  // namespace concertina
