#include <immintrin.h>

#include "models/kernels/isa.h"

namespace concertina::isa::avx2 {
namespace {

using Vec = __m256;
using IntVec = __m256i;
constexpr int64_t kLanes = 8;
constexpr int kTileRows = 6;
constexpr int kBlockTileRows = 2;

inline __m256i FirstLanes(int64_t n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
}

inline Vec Set(float x) { return _mm256_set1_ps(x); }
inline Vec Load(const float* p) { return _mm256_loadu_ps(p); }
inline Vec LoadPart(const float* p, int64_t n) { return _mm256_maskload_ps(p, FirstLanes(n)); }
inline void Store(float* p, Vec x) { _mm256_storeu_ps(p, x); }
inline void StorePart(float* p, Vec x, int64_t n) { _mm256_maskstore_ps(p, FirstLanes(n), x); }
inline Vec Fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
// The second operand when either is NaN.
inline Vec Max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
inline Vec Min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
inline Vec Abs(Vec a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
inline Vec CopySign(Vec magnitude, Vec sign) {
  return _mm256_or_ps(Abs(magnitude), _mm256_and_ps(sign, _mm256_set1_ps(-0.0f)));
}
// a > b ? x : y
inline Vec SelectGreater(Vec a, Vec b, Vec x, Vec y) {
  return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_GT_OQ));
}
inline IntVec Bits(Vec a) { return _mm256_castps_si256(a); }
inline Vec FromBits(IntVec a) { return _mm256_castsi256_ps(a); }
inline IntVec AddInt(IntVec a, IntVec b) { return _mm256_add_epi32(a, b); }
template <int kBits>
inline IntVec ShiftLeft(IntVec a) {
  return _mm256_slli_epi32(a, kBits);
}
template <int kBits>
inline IntVec ShiftRight(IntVec a) {
  return _mm256_srli_epi32(a, kBits);
}
inline IntVec SetInt(int32_t x) { return _mm256_set1_epi32(x); }
inline IntVec LoadInt(const uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
inline void StoreInt(uint8_t* p, IntVec x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x);
}
inline IntVec AndInt(IntVec a, IntVec b) { return _mm256_and_si256(a, b); }
inline Vec ToFloat(IntVec a) { return _mm256_cvtepi32_ps(a); }
// The lowest byte of each lane.
inline void StoreBytes(int8_t* p, IntVec a) {
  const __m256i low = _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                       0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
  const __m256i bytes = _mm256_shuffle_epi8(a, low);
  const __m128i all =
      _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), all);
}
inline Vec LoadHalf(const uint8_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline IntVec And16(IntVec a, int16_t mask) { return _mm256_and_si256(a, _mm256_set1_epi16(mask)); }
inline IntVec Up16(IntVec a) { return _mm256_slli_epi16(a, 8); }
inline IntVec Down16(IntVec a) { return _mm256_srli_epi16(a, 8); }
inline IntVec SignedDown16(IntVec a) { return _mm256_srai_epi16(a, 8); }
inline IntVec MultiplyAddPairs(IntVec a, IntVec b) { return _mm256_madd_epi16(a, b); }
inline Vec LoadBf16(const uint8_t* p) {
  const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return FromBits(ShiftLeft<16>(_mm256_cvtepu16_epi32(half)));
}
// Lanes added pairwise at distance 4, 2, 1.
inline float Sum(Vec a) {
  __m128 q = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  q = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}
inline float MaxLane(Vec a) {
  __m128 q = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  q = _mm_max_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}

// The four largest lanes.
inline __m128 MaxFour(Vec a, Vec b, Vec c, Vec d) {
  const __m256 ab = _mm256_max_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
  const __m256 cd = _mm256_max_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
  const __m256 all =
      _mm256_max_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
  return _mm_max_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
}

// The four sums, each in the same order wherever it stands among the four.
inline __m128 SumFour(Vec a, Vec b, Vec c, Vec d) {
  const __m256 ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
  const __m256 cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
  const __m256d low = _mm256_unpacklo_pd(_mm256_castps_pd(ab), _mm256_castps_pd(cd));
  const __m256d high = _mm256_unpackhi_pd(_mm256_castps_pd(ab), _mm256_castps_pd(cd));
  const __m256 all = _mm256_add_ps(_mm256_castpd_ps(low), _mm256_castpd_ps(high));
  return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
}

}  // namespace
}  // namespace concertina::isa::avx2

#define CONCERTINA_ISA_NAMESPACE avx2
#include "models/kernels/isa_kernels.inc"

namespace concertina::isa {
const Kernels& Avx2Kernels() { return avx2::kTable; }
}  // namespace concertina::isa
