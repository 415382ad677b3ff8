#pragma once

#include <cstdint>
#include <vector>

#include "models/bundle/model.h"
#include "models/kernels/matrix.h"

namespace concertina {

// One copy of weights that is held in memory, and what its type achieved on this machine.
struct WeightCopy {
  enum class Role {
    kAll,      // the language model, any number of rows
    kDecode,   // the language model, few rows
    kPrefill,  // the language model, many rows
    kVision,   // vision tower and projector
  };
  Role role = Role::kAll;
  MatrixType type = MatrixType::kF32;
  int64_t bytes = 0;
  int64_t parameters = 0;  // elements of the matrices
  int64_t rows_from = 0;   // products with at least so many rows
  // Measured before loading, on a matrix of the language model; 0: not measured.
  double read_bytes_per_second = 0;
  double operations_per_second = 0;

  double bytes_per_parameter() const {
    return static_cast<double>(bytes) / static_cast<double>(parameters);
  }
};

// "all", "decode", "prefill", "vision".
const char* RoleName(WeightCopy::Role role);

// Every copy of the model's matrices, the language model's first.
std::vector<WeightCopy> ListCopies(const Model& model);

// Elements of all matrices, each counted once.
int64_t ParametersOf(const Model& model);

// Whether a conversation's tokens equal its solo run, pictures included.
bool IsDeterministic(const Model& model);

}  // namespace concertina
