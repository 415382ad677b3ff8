#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "models/kernels/block_matrix.h"
#include "models/kernels/matrix.h"
#include "models/kernels/workspace.h"

namespace concertina {

// A matrix of the model to measure on: its shape, not its values.
struct SampleMatrix {
  int64_t n = 0;
  int64_t k = 0;
  // How the file's blocks are kept by kStored; empty: the file has none, and kStored is no choice.
  std::optional<BlockFormat> stored;
  // Weights of the whole model: one that fits into the caches is measured in them.
  int64_t model_parameters = 0;
};

// The answers of one conversation, of many, and a slice of a prompt.
inline constexpr std::array<int64_t, 3> kMeasuredRows{1, 16, 256};

// What a type achieved on the sample: the best of several runs.
struct TypeRates {
  MatrixType type = MatrixType::kF32;
  double bytes_per_parameter = 0;
  std::array<double, kMeasuredRows.size()> seconds{};  // of one product with so many rows
  double read_bytes_per_second = 0;                    // of weights, at 1 row
  double operations_per_second = 0;  // at 256 rows; a multiplication and an addition are two
};

// Packed copies of a sample, to be timed against each other. Runs on the calling thread and those
// of ParallelFor; takes about 0.2 s in all.
class TypeMeasurement {
 public:
  // Packs the sample as each of `types` that this CPU and the sample allow.
  // RESOURCE_EXHAUSTED when memory is refused.
  static absl::StatusOr<TypeMeasurement> Make(const SampleMatrix& sample,
                                              std::span<const MatrixType> types);

  // Measures for about 0.12 s. In the order of `types`, without those that are not allowed; each
  // call can only find better times.
  std::vector<TypeRates> Rates();

  // The least number of rows from which on `many` is the faster of two measured types.
  int64_t Threshold(MatrixType few, MatrixType many);

 private:
  TypeMeasurement(int64_t n, int64_t k, int64_t flush_bytes);
  double Seconds(const PackedMatrix& matrix, int64_t rows);
  void ReadOtherMemory();
  void RunRound();
  const PackedMatrix& Copy(MatrixType type) const;

  struct Candidate {
    MatrixType type;
    std::unique_ptr<PackedMatrix> matrix;
    std::array<double, kMeasuredRows.size()> seconds;
  };
  std::vector<Candidate> candidates_;
  AlignedBuffer input_, output_, other_memory_;
  double sink_ = 0;
};

}  // namespace concertina
