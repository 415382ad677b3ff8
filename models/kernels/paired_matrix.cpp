#include "models/kernels/paired_matrix.h"

#include <utility>

namespace concertina {
namespace {

class PairedMatrix final : public PackedMatrix {
 public:
  PairedMatrix(std::unique_ptr<PackedMatrix> few, std::unique_ptr<PackedMatrix> many,
               int64_t many_from)
      : PackedMatrix(few->type(), few->n(), few->k()),
        few_(std::move(few)),
        many_(std::move(many)),
        many_from_(many_from) {}

  void Multiply(const float* x, int64_t m, int64_t ldx, float* y, int64_t ldy, bool accumulate,
                const float* bias) const override {
    const PackedMatrix& copy = m < many_from_ ? *few_ : *many_;
    copy.Multiply(x, m, ldx, y, ldy, accumulate, bias);
  }

  int64_t bytes() const override { return few_->bytes() + many_->bytes(); }
  CopyBytes copies() const { return {few_->bytes(), many_->bytes()}; }

 private:
  std::unique_ptr<PackedMatrix> few_;
  std::unique_ptr<PackedMatrix> many_;
  int64_t many_from_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PackedMatrix>> PackPlanned(
    const MatrixPlan& plan,
    absl::FunctionRef<absl::StatusOr<std::unique_ptr<PackedMatrix>>(MatrixType)> pack) {
  absl::StatusOr<std::unique_ptr<PackedMatrix>> few = pack(plan.few);
  if (!few.ok() || !plan.paired()) return few;
  absl::StatusOr<std::unique_ptr<PackedMatrix>> many = pack(plan.many);
  if (!many.ok()) return many;
  if ((*few)->type() == (*many)->type()) return few;
  return std::make_unique<PairedMatrix>(*std::move(few), *std::move(many), plan.many_from);
}

CopyBytes BytesOfCopies(const PackedMatrix& matrix) {
  const auto* pair = dynamic_cast<const PairedMatrix*>(&matrix);
  return pair == nullptr ? CopyBytes{matrix.bytes(), 0} : pair->copies();
}

}  // namespace concertina
