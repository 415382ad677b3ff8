// AVX-512 with its dot products of bytes (VNNI) and of bf16.

#include <immintrin.h>

#include "models/kernels/isa.h"

#define CONCERTINA_ISA_NAMESPACE avx512_dot
// clang-format off
#include "models/kernels/isa_avx512_vectors.inc"
#include "models/kernels/isa_kernels.inc"
// clang-format on

namespace concertina::isa {
const Kernels& Avx512DotKernels() { return avx512_dot::kTable; }
}  // namespace concertina::isa
