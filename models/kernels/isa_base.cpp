#include <emmintrin.h>

#include "models/kernels/isa.h"

namespace concertina::isa::base {
namespace {

using Vec = __m128;
using IntVec = __m128i;
constexpr int64_t kLanes = 4;
constexpr int kTileRows = 6;
constexpr int kBlockTileRows = 2;

inline Vec Set(float x) { return _mm_set1_ps(x); }
inline Vec Load(const float* p) { return _mm_loadu_ps(p); }
// n is 1 .. 3; the mask tells the compiler so.
inline Vec LoadPart(const float* p, int64_t n) {
  alignas(16) float part[4] = {};
  __builtin_memcpy(part, p, static_cast<size_t>(n & 3) * sizeof(float));
  return _mm_load_ps(part);
}
inline void Store(float* p, Vec x) { _mm_storeu_ps(p, x); }
inline void StorePart(float* p, Vec x, int64_t n) {
  if (n & 2) {
    _mm_storel_pi(reinterpret_cast<__m64*>(p), x);
    p += 2;
    x = _mm_movehl_ps(x, x);
  }
  if (n & 1) _mm_store_ss(p, x);
}
// SSE2 has no fused operation: two roundings, the same in every kernel of this variant.
inline Vec Fma(Vec a, Vec b, Vec c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }
// The second operand when either is NaN.
inline Vec Max(Vec a, Vec b) { return _mm_max_ps(a, b); }
inline Vec Min(Vec a, Vec b) { return _mm_min_ps(a, b); }
inline Vec Abs(Vec a) { return _mm_andnot_ps(_mm_set1_ps(-0.0f), a); }
inline Vec CopySign(Vec magnitude, Vec sign) {
  return _mm_or_ps(Abs(magnitude), _mm_and_ps(sign, _mm_set1_ps(-0.0f)));
}
// a > b ? x : y
inline Vec SelectGreater(Vec a, Vec b, Vec x, Vec y) {
  const __m128 mask = _mm_cmpgt_ps(a, b);
  return _mm_or_ps(_mm_and_ps(mask, x), _mm_andnot_ps(mask, y));
}
inline IntVec Bits(Vec a) { return _mm_castps_si128(a); }
inline Vec FromBits(IntVec a) { return _mm_castsi128_ps(a); }
inline IntVec AddInt(IntVec a, IntVec b) { return _mm_add_epi32(a, b); }
template <int kBits>
inline IntVec ShiftLeft(IntVec a) {
  return _mm_slli_epi32(a, kBits);
}
template <int kBits>
inline IntVec ShiftRight(IntVec a) {
  return _mm_srli_epi32(a, kBits);
}
inline IntVec SetInt(int32_t x) { return _mm_set1_epi32(x); }
inline IntVec LoadInt(const uint8_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
inline void StoreInt(uint8_t* p, IntVec x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), x); }
inline IntVec AndInt(IntVec a, IntVec b) { return _mm_and_si128(a, b); }
inline Vec ToFloat(IntVec a) { return _mm_cvtepi32_ps(a); }
// The lowest byte of each lane.
inline void StoreBytes(int8_t* p, IntVec a) {
  alignas(16) int32_t lanes[4];
  _mm_store_si128(reinterpret_cast<__m128i*>(lanes), a);
  for (int i = 0; i < 4; ++i) p[i] = static_cast<int8_t>(lanes[i]);
}
// Exponent and mantissa moved into place and scaled by 2^112, which is exact for every number;
// infinities become large numbers, which no scale is.
inline Vec LoadHalf(const uint8_t* p) {
  const __m128i half =
      _mm_unpacklo_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)), _mm_setzero_si128());
  const __m128i sign = _mm_slli_epi32(_mm_and_si128(half, _mm_set1_epi32(0x8000)), 16);
  const __m128i magnitude = _mm_slli_epi32(_mm_and_si128(half, _mm_set1_epi32(0x7fff)), 13);
  const __m128 value = _mm_mul_ps(FromBits(magnitude), _mm_set1_ps(0x1p112f));
  return _mm_or_ps(value, FromBits(sign));
}
inline IntVec And16(IntVec a, int16_t mask) { return _mm_and_si128(a, _mm_set1_epi16(mask)); }
inline IntVec Up16(IntVec a) { return _mm_slli_epi16(a, 8); }
inline IntVec Down16(IntVec a) { return _mm_srli_epi16(a, 8); }
inline IntVec SignedDown16(IntVec a) { return _mm_srai_epi16(a, 8); }
inline IntVec MultiplyAddPairs(IntVec a, IntVec b) { return _mm_madd_epi16(a, b); }
inline Vec LoadBf16(const uint8_t* p) {
  const __m128i half = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return FromBits(_mm_unpacklo_epi16(_mm_setzero_si128(), half));
}
// Lanes added pairwise at distance 2, 1.
inline float Sum(Vec a) {
  const __m128 q = _mm_add_ps(a, _mm_movehl_ps(a, a));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
}
inline float MaxLane(Vec a) {
  const __m128 q = _mm_max_ps(a, _mm_movehl_ps(a, a));
  return _mm_cvtss_f32(_mm_max_ss(q, _mm_shuffle_ps(q, q, 1)));
}

// The four largest lanes.
inline __m128 MaxFour(Vec a, Vec b, Vec c, Vec d) {
  const __m128 ab = _mm_max_ps(_mm_unpacklo_ps(a, b), _mm_unpackhi_ps(a, b));
  const __m128 cd = _mm_max_ps(_mm_unpacklo_ps(c, d), _mm_unpackhi_ps(c, d));
  return _mm_max_ps(_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab));
}

// The four sums, each in the same order wherever it stands among the four.
inline __m128 SumFour(Vec a, Vec b, Vec c, Vec d) {
  const __m128 ab = _mm_add_ps(_mm_unpacklo_ps(a, b), _mm_unpackhi_ps(a, b));
  const __m128 cd = _mm_add_ps(_mm_unpacklo_ps(c, d), _mm_unpackhi_ps(c, d));
  return _mm_add_ps(_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab));
}

}  // namespace
}  // namespace concertina::isa::base

#define CONCERTINA_ISA_NAMESPACE base
#include "models/kernels/isa_kernels.inc"

namespace concertina::isa {
const Kernels& BaseKernels() { return base::kTable; }
}  // namespace concertina::isa
