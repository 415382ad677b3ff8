#include <immintrin.h>

#include "models/kernels/isa.h"

namespace concertina::isa::avx512 {
namespace {

using Vec = __m512;
using IntVec = __m512i;
constexpr int64_t kLanes = 16;
constexpr int kTileRows = 12;

inline __mmask16 FirstLanes(int64_t n) { return static_cast<__mmask16>((1u << n) - 1u); }

inline Vec Set(float x) { return _mm512_set1_ps(x); }
inline Vec Load(const float* p) { return _mm512_loadu_ps(p); }
inline Vec LoadPart(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(FirstLanes(n), p); }
inline void Store(float* p, Vec x) { _mm512_storeu_ps(p, x); }
inline void StorePart(float* p, Vec x, int64_t n) { _mm512_mask_storeu_ps(p, FirstLanes(n), x); }
inline Vec Fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
// The second operand when either is NaN.
inline Vec Max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
inline Vec Min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
inline Vec Abs(Vec a) { return _mm512_abs_ps(a); }
inline Vec CopySign(Vec magnitude, Vec sign) {
  return _mm512_or_ps(_mm512_abs_ps(magnitude), _mm512_and_ps(sign, _mm512_set1_ps(-0.0f)));
}
// a > b ? x : y
inline Vec SelectGreater(Vec a, Vec b, Vec x, Vec y) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), y, x);
}
inline IntVec Bits(Vec a) { return _mm512_castps_si512(a); }
inline Vec FromBits(IntVec a) { return _mm512_castsi512_ps(a); }
inline IntVec AddInt(IntVec a, IntVec b) { return _mm512_add_epi32(a, b); }
template <int kBits>
inline IntVec ShiftLeft(IntVec a) {
  return _mm512_slli_epi32(a, kBits);
}
inline Vec LoadBf16(const uint8_t* p) {
  const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return FromBits(ShiftLeft<16>(_mm512_cvtepu16_epi32(half)));
}
// Lanes added pairwise at distance 8, 4, 2, 1.
inline float Sum(Vec a) {
  const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
  __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  q = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}

// The four sums, each in the same order wherever it stands among the four.
inline __m128 SumFour(Vec a, Vec b, Vec c, Vec d) {
  const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
  const __m512d low = _mm512_unpacklo_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd));
  const __m512d high = _mm512_unpackhi_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd));
  const __m512 all = _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high));
  const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
  return _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
}

}  // namespace
}  // namespace concertina::isa::avx512

#define CONCERTINA_ISA_NAMESPACE avx512
#include "models/kernels/isa_kernels.inc"

namespace concertina::isa {
const Kernels& Avx512Kernels() { return avx512::kTable; }
}  // namespace concertina::isa
