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

// Prepacked by LibTorch's oneDNN, reached through the dispatcher.
class Bf16Matrix final : public PackedMatrix {
 public:
  Bf16Matrix(int64_t n, int64_t k, at::Tensor weight)
      : PackedMatrix(MatrixType::kBf16, n, k),
        weight_(std::move(weight)),
        linear_(Operator("mkldnn::_linear_pointwise")) {}

  void Multiply(const float* x, int64_t m, int64_t ldx, float* y, int64_t ldy, bool accumulate,
                const float* bias) const override {
    if (m <= 0) return;
    const c10::InferenceMode inference;
    const isa::Kernels& kernels = isa::Active();
    auto* input = reinterpret_cast<uint16_t*>(Scratch().Floats(0, (m * k() + 1) / 2));
    ParallelFor(0, m, std::max<int64_t>(1, kConvertGrain / k()), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) kernels.to_bf16(x + r * ldx, k(), input + r * k());
    });
    const at::Tensor result =
        CallForTensor(linear_, {at::from_blob(input, {m, k()}, at::kBFloat16), weight_,
                                c10::IValue(), "none", c10::List<std::optional<at::Scalar>>(), ""});
    const uint16_t* output = Bf16Data(result);
    ParallelFor(0, m, std::max<int64_t>(1, kConvertGrain / n()), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        kernels.from_bf16(output + r * n(), n(), accumulate, bias, y + r * ldy);
      }
    });
  }

  int64_t bytes() const override { return 2 * n() * k(); }

 private:
  at::Tensor weight_;
  c10::OperatorHandle linear_;
};

absl::StatusOr<at::Tensor> ReadWeight(int64_t n, int64_t k, PackedMatrix::RowReader read_rows) {
  at::Tensor weight = at::empty({n, k}, at::kBFloat16);
  AlignedBuffer rows(static_cast<size_t>(std::min(kReadRows, n) * k) * sizeof(float));
  for (int64_t begin = 0; begin < n; begin += kReadRows) {
    const int64_t end = std::min(n, begin + kReadRows);
    if (absl::Status status = read_rows(begin, end, rows.floats()); !status.ok()) return status;
    isa::Active().to_bf16(rows.floats(), (end - begin) * k, Bf16Data(weight) + begin * k);
  }
  return weight;
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
    absl::StatusOr<at::Tensor> weight = ReadWeight(n, k, read_rows);
    if (!weight.ok()) return weight.status();
    at::Tensor packed = CallForTensor(Operator("mkldnn::_reorder_linear_weight"),
                                      {*std::move(weight), c10::IValue()});
    return std::make_unique<Bf16Matrix>(n, k, std::move(packed));
  } catch (const c10::Error& error) {
    return absl::InternalError(
        absl::StrCat("packing a bf16 matrix: ", error.what_without_backtrace()));
  }
}

}  // namespace concertina
