#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "models/kernels/isa.h"
#include "models/kernels/matrix_internal.h"
#include "models/kernels/parallel.h"
#include "models/kernels/workspace.h"

namespace concertina {
namespace {

// Elements converted per thread at least.
constexpr int64_t kConvertGrain = 1 << 14;
constexpr int64_t kReadRows = 256;
// Parts of a matrix, by columns of y, and of x, by rows: few enough that a call is worth its cost.
constexpr int64_t kParts = 2;
constexpr int64_t kPartColumnsMin = 128;
constexpr int64_t kBlockRows = 288;

c10::OperatorHandle Operator(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "");
}

at::Tensor CallForTensor(const c10::OperatorHandle& op, std::vector<c10::IValue> stack) {
  op.callBoxed(&stack);
  return std::move(stack.front()).toTensor();
}

uint16_t* Bf16Data(const at::Tensor& tensor) {
  return static_cast<uint16_t*>(tensor.mutable_data_ptr());
}

Workspace& Scratch() {
  static thread_local Workspace workspace;
  return workspace;
}

// Prepacked by LibTorch's oneDNN, reached through the dispatcher. Each product is a grid of columns
// and rows whose parts run on our threads, one call of LibTorch each: threads of its own would spin
// against ours.
class Bf16Matrix final : public PackedMatrix {
 public:
  // `parts`: `part_columns` rows of W each, the last one perhaps fewer.
  Bf16Matrix(int64_t n, int64_t k, int64_t part_columns, std::vector<at::Tensor> parts)
      : PackedMatrix(MatrixType::kBf16, n, k),
        part_columns_(part_columns),
        parts_(std::move(parts)),
        linear_(Operator("mkldnn::_linear_pointwise")) {}

  void Multiply(const float* x, int64_t m, int64_t ldx, float* y, int64_t ldy, bool accumulate,
                const float* bias) const override {
    if (m <= 0) return;
    auto* input = reinterpret_cast<uint16_t*>(Scratch().Floats(0, (m * k() + 1) / 2));
    ParallelFor(0, m, std::max<int64_t>(1, kConvertGrain / k()), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        isa::Active().to_bf16(x + r * ldx, k(), input + r * k());
      }
    });
    const auto columns = static_cast<int64_t>(parts_.size());
    const int64_t blocks = std::max<int64_t>(1, m / kBlockRows);
    ParallelTasks(columns * blocks, [&](int, int64_t task) {
      const int64_t block = task / columns;
      const int64_t begin = m * block / blocks;
      const int64_t end = m * (block + 1) / blocks;
      const int64_t first = task % columns * part_columns_;
      MultiplyPart(task % columns, input + begin * k(), end - begin, y + begin * ldy + first, ldy,
                   accumulate, bias == nullptr ? nullptr : bias + first);
    });
  }

  int64_t bytes() const override { return 2 * n() * k(); }

 private:
  void MultiplyPart(int64_t part, uint16_t* x, int64_t rows, float* y, int64_t ldy, bool accumulate,
                    const float* bias) const {
    const c10::InferenceMode inference;
    const at::Tensor result =
        CallForTensor(linear_, {at::from_blob(x, {rows, k()}, at::kBFloat16), parts_[part],
                                c10::IValue(), "none", c10::List<std::optional<at::Scalar>>(), ""});
    const uint16_t* output = Bf16Data(result);
    const int64_t columns = result.size(1);
    for (int64_t r = 0; r < rows; ++r) {
      isa::Active().from_bf16(output + r * columns, columns, accumulate, bias, y + r * ldy);
    }
  }

  int64_t part_columns_;
  std::vector<at::Tensor> parts_;
  c10::OperatorHandle linear_;
};

// Rows [first, last) of W.
absl::StatusOr<at::Tensor> PackPart(int64_t first, int64_t last, int64_t k,
                                    PackedMatrix::RowReader read_rows) {
  at::Tensor weight = at::empty({last - first, k}, at::kBFloat16);
  AlignedBuffer rows(static_cast<size_t>(std::min(kReadRows, last - first) * k) * sizeof(float));
  for (int64_t begin = first; begin < last; begin += kReadRows) {
    const int64_t end = std::min(last, begin + kReadRows);
    if (absl::Status status = read_rows(begin, end, rows.floats()); !status.ok()) return status;
    isa::Active().to_bf16(rows.floats(), (end - begin) * k, Bf16Data(weight) + (begin - first) * k);
  }
  return CallForTensor(Operator("mkldnn::_reorder_linear_weight"),
                       {std::move(weight), c10::IValue()});
}

}  // namespace

bool Bf16MatrixSupported() {
  try {
    torch::jit::Stack stack;
    Operator("mkldnn::_is_mkldnn_bf16_supported").callBoxed(&stack);
    return stack.front().toBool();
  } catch (const std::exception&) {
    return false;  // a LibTorch without oneDNN
  }
}

absl::StatusOr<std::unique_ptr<PackedMatrix>> PackBf16Matrix(int64_t n, int64_t k,
                                                             PackedMatrix::RowReader read_rows) {
  if (!Bf16MatrixSupported()) {
    return absl::FailedPreconditionError("this CPU or LibTorch has no bf16 matrix products");
  }
  try {
    const c10::InferenceMode inference;
    const int64_t columns = std::max((n + kParts - 1) / kParts, kPartColumnsMin);
    std::vector<at::Tensor> parts;
    for (int64_t first = 0; first < n; first += columns) {
      absl::StatusOr<at::Tensor> part = PackPart(first, std::min(n, first + columns), k, read_rows);
      if (!part.ok()) return part.status();
      parts.push_back(*std::move(part));
    }
    return std::make_unique<Bf16Matrix>(n, k, columns, std::move(parts));
  } catch (const c10::Error& error) {
    return absl::InternalError(
        absl::StrCat("packing a bf16 matrix: ", error.what_without_backtrace()));
  }
}

}  // namespace concertina
