#include <immintrin.h>

#include "models/kernels/isa.h"

#define CONCERTINA_ISA_NAMESPACE avx512
// clang-format off
#include "models/kernels/isa_avx512_vectors.inc"
#include "models/kernels/isa_kernels.inc"
// clang-format on

namespace concertina::isa {
const Kernels& Avx512Kernels() { return avx512::kTable; }
}  // namespace concertina::isa
