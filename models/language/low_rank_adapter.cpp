#include "models/language/low_rank_adapter.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace concertina {
namespace {

constexpr int64_t kMaxRank = 4096;

// One part's tensors, found and checked.
struct Factors {
  const TensorInfo* a;  // [rank, in]
  const TensorInfo* b;  // [out, rank]
  int64_t rank() const { return a->shape[0]; }
};

absl::StatusOr<Factors> FindFactors(const TensorSource& source, int64_t in,
                                    const LowRankAdapter::Part& part) {
  const std::string a_name = absl::StrCat(part.prefix, ".lora_A.weight");
  const std::string b_name = absl::StrCat(part.prefix, ".lora_B.weight");
  const Factors factors{source.Find(a_name), source.Find(b_name)};
  for (const auto& [tensor, name] : {std::pair(factors.a, a_name), std::pair(factors.b, b_name)}) {
    if (tensor == nullptr) {
      return absl::NotFoundError(absl::StrCat("adapter: tensor ", name, " is missing"));
    }
  }
  const std::vector<int64_t>& a = factors.a->shape;
  const std::vector<int64_t>& b = factors.b->shape;
  if (a.size() != 2 || a[1] != in || a[0] < 1 || a[0] > kMaxRank) {
    return absl::InvalidArgumentError(absl::StrCat("adapter: tensor ", a_name, " has shape ",
                                                   ShapeText(a), ", expected [rank, ", in, "]"));
  }
  if (b != std::vector<int64_t>{part.out, a[0]}) {
    return absl::InvalidArgumentError(absl::StrCat("adapter: tensor ", b_name, " has shape ",
                                                   ShapeText(b), ", expected ",
                                                   ShapeText({part.out, a[0]})));
  }
  return factors;
}

// Copies the rows of `tensor` that lie in [begin, end) of a stack in which it starts at row
// `first`, each to column `column` of a row of `width` floats.
absl::Status ReadBlock(const TensorSource& source, const TensorInfo& tensor, int64_t first,
                       int64_t column, int64_t width, int64_t begin, int64_t end, float* out) {
  const int64_t from = std::max(begin, first);
  const int64_t to = std::min(end, first + tensor.rows());
  for (int64_t row = from; row < to; ++row) {
    absl::Status status =
        source.ReadRows(tensor, row - first, row - first + 1, out + (row - begin) * width + column);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<LowRankAdapter> LowRankAdapter::Load(const TensorSource& source, MatrixType type,
                                                    int64_t in, const std::vector<Part>& parts) {
  std::vector<Factors> all;
  int64_t rank = 0;  // of the stack
  int64_t rows = 0;
  for (const Part& part : parts) {
    absl::StatusOr<Factors> factors = FindFactors(source, in, part);
    if (!factors.ok()) return factors.status();
    rank += factors->rank();
    rows += part.out;
    all.push_back(*factors);
  }
  const auto read_down = [&](int64_t begin, int64_t end, float* out) -> absl::Status {
    int64_t first = 0;
    for (const Factors& factors : all) {
      absl::Status status = ReadBlock(source, *factors.a, first, 0, in, begin, end, out);
      if (!status.ok()) return status;
      first += factors.rank();
    }
    return absl::OkStatus();
  };
  const auto read_up = [&](int64_t begin, int64_t end, float* out) -> absl::Status {
    std::fill(out, out + (end - begin) * rank, 0.0F);
    int64_t first = 0;
    int64_t column = 0;
    for (const Factors& factors : all) {
      absl::Status status = ReadBlock(source, *factors.b, first, column, rank, begin, end, out);
      if (!status.ok()) return status;
      first += factors.b->rows();
      column += factors.rank();
    }
    return absl::OkStatus();
  };
  LowRankAdapter adapter;
  absl::StatusOr<std::unique_ptr<PackedMatrix>> down =
      PackedMatrix::Pack(type, rank, in, read_down);
  if (!down.ok()) return down.status();
  adapter.down_ = *std::move(down);
  absl::StatusOr<std::unique_ptr<PackedMatrix>> up = PackedMatrix::Pack(type, rows, rank, read_up);
  if (!up.ok()) return up.status();
  adapter.up_ = *std::move(up);
  return adapter;
}

int64_t LowRankAdapter::bytes() const { return empty() ? 0 : down_->bytes() + up_->bytes(); }

int64_t LowRankAdapter::ScratchSize(int64_t n) const { return empty() ? 0 : n * down_->n(); }

void LowRankAdapter::Add(const float* x, int64_t n, const float* scale, float* scratch,
                         float* y) const {
  if (empty()) return;
  const int64_t rank = down_->n();
  down_->Multiply(x, n, down_->k(), scratch, rank, /*accumulate=*/false, nullptr);
  for (int64_t row = 0; row < n; ++row) {
    float* share = scratch + row * rank;
    // Zero even for a row with an infinity, so that the adapter never reaches rows it does not act
    // on.
    if (scale[row] == 0.0F) std::fill(share, share + rank, 0.0F);
    for (int64_t i = 0; i < rank; ++i) share[i] *= scale[row];
  }
  up_->Multiply(scratch, n, rank, y, up_->n(), /*accumulate=*/true, nullptr);
}

}  // namespace concertina
