#include <algorithm>
#include <cstring>
#include <utility>

#include "models/kernels/isa.h"
#include "models/kernels/matrix_internal.h"
#include "models/kernels/parallel.h"
#include "models/kernels/workspace.h"

namespace concertina {
namespace {

// Rows of x multiplied with one panel before going on to the next panel: half of a usual L2 cache.
constexpr int64_t kRowGroupFloats = (512 << 10) / 4;
// Multiply-adds worth waking another thread for.
constexpr int64_t kMinimumWork = 1 << 17;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The engine thread's scratch for laid-out activations.
Workspace& Scratch() {
  static thread_local Workspace workspace;
  return workspace;
}

// Weights in panels of panel_columns outputs, k-major inside a panel ([panel][k][column]), the last
// panel filled up with zeros: the inner loop then reads one straight line of memory.
class F32Matrix final : public PackedMatrix {
 public:
  F32Matrix(int64_t n, int64_t k, const isa::Kernels& kernels, AlignedBuffer panels)
      : PackedMatrix(MatrixType::kF32, n, k), kernels_(kernels), panels_(std::move(panels)) {}

  void Multiply(const float* x, int64_t m, int64_t ldx, float* y, int64_t ldy, bool accumulate,
                const float* bias) const override {
    if (m <= 0) return;
    const float* a = m == 1 ? x : LayOutRows(x, m, ldx);
    const int64_t tile_rows = kernels_.tile_rows;
    const int64_t tiles = CeilDiv(m, tile_rows);
    const int64_t group_tiles = std::max<int64_t>(1, kRowGroupFloats / (tile_rows * k()));
    const int64_t groups = CeilDiv(tiles, group_tiles);
    const int64_t columns = kernels_.panel_columns;
    const int64_t panels = CeilDiv(n(), columns);
    const int64_t work = std::min(m, group_tiles * tile_rows) * k() * columns;
    ParallelFor(0, groups * panels, CeilDiv(kMinimumWork, work), [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t group = task / panels;
        const int64_t first = task % panels * columns;
        isa::GemmTile tile = {.a_row = 1,
                              .b = panels_.floats() + first * k(),
                              .b_step = columns,
                              .k = k(),
                              .columns = std::min(columns, n() - first),
                              .c_row = ldy,
                              .accumulate = accumulate,
                              .bias = bias == nullptr ? nullptr : bias + first};
        const int64_t last = std::min(tiles, (group + 1) * group_tiles);
        for (int64_t t = group * group_tiles; t < last; ++t) {
          tile.a = a + t * tile_rows * k();
          tile.rows = std::min(tile_rows, m - t * tile_rows);
          tile.a_step = tile.rows;
          tile.c = y + t * tile_rows * ldy + first;
          kernels_.gemm_tile(tile);
        }
      }
    });
  }

  int64_t bytes() const override { return static_cast<int64_t>(panels_.bytes()); }

 private:
  // x in tiles of tile_rows rows, [tile][k][row]: rows a power of two apart would otherwise fall
  // into the same cache sets.
  const float* LayOutRows(const float* x, int64_t m, int64_t ldx) const {
    const int64_t tile_rows = kernels_.tile_rows;
    float* a = Scratch().Floats(0, m * k());
    const int64_t grain = CeilDiv(kMinimumWork / 16, tile_rows * k());
    ParallelFor(0, CeilDiv(m, tile_rows), grain, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const int64_t rows = std::min(tile_rows, m - t * tile_rows);
        const float* from = x + t * tile_rows * ldx;
        float* to = a + t * tile_rows * k();
        for (int64_t i = 0; i < k(); ++i) {
          for (int64_t r = 0; r < rows; ++r) to[i * rows + r] = from[r * ldx + i];
        }
      }
    });
    return a;
  }

  const isa::Kernels& kernels_;
  AlignedBuffer panels_;
};

void LayOutPanel(const float* rows, int64_t count, int64_t k, int64_t columns, float* panel) {
  if (count < columns) std::memset(panel, 0, static_cast<size_t>(columns * k) * sizeof(float));
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t j = 0; j < count; ++j) panel[i * columns + j] = rows[j * k + i];
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<PackedMatrix>> PackF32Matrix(int64_t n, int64_t k,
                                                            PackedMatrix::RowReader read_rows) {
  const isa::Kernels& kernels = isa::Active();
  const int64_t columns = kernels.panel_columns;
  AlignedBuffer panels(static_cast<size_t>(CeilDiv(n, columns) * columns * k) * sizeof(float));
  // A few panels at a time, so that readers which go parallel over rows have enough of them.
  const int64_t step = 8 * columns;
  AlignedBuffer rows(static_cast<size_t>(std::min(step, n) * k) * sizeof(float));
  for (int64_t begin = 0; begin < n; begin += step) {
    const int64_t end = std::min(n, begin + step);
    if (absl::Status status = read_rows(begin, end, rows.floats()); !status.ok()) return status;
    ParallelFor(0, CeilDiv(end - begin, columns), 1, [&](int64_t first, int64_t last) {
      for (int64_t p = first; p < last; ++p) {
        LayOutPanel(rows.floats() + p * columns * k, std::min(columns, end - begin - p * columns),
                    k, columns, panels.floats() + (begin + p * columns) * k);
      }
    });
  }
  return std::make_unique<F32Matrix>(n, k, kernels, std::move(panels));
}

}  // namespace concertina
