#pragma once

// Stands in for CUDA's header of this name: matrix products of a warp, for which every lane does
// the whole work.

#include <array>

namespace nvcuda::wmma {

struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major };

template <typename Use, int kM, int kN, int kK, typename T, typename Layout = void>
struct fragment {
  static_assert(kM == 16 && kN == 16 && kK == 16);
  std::array<float, 256> values;  // by row of the matrix, then column
};

template <typename F>
void fill_fragment(F& to, float value) {
  to.values.fill(value);
}

template <typename T>
void load_matrix_sync(fragment<matrix_a, 16, 16, 16, T, row_major>& to, const T* from,
                      unsigned stride) {
  for (unsigned i = 0; i < 256; ++i)
    to.values[i] = static_cast<float>(from[i / 16 * stride + i % 16]);
}

template <typename T>
void load_matrix_sync(fragment<matrix_b, 16, 16, 16, T, col_major>& to, const T* from,
                      unsigned stride) {
  for (unsigned i = 0; i < 256; ++i)
    to.values[i] = static_cast<float>(from[i % 16 * stride + i / 16]);
}

template <typename A, typename B, typename C>
void mma_sync(C& to, const A& a, const B& b, const C& c) {
  for (unsigned row = 0; row < 16; ++row) {
    for (unsigned column = 0; column < 16; ++column) {
      float sum = c.values[row * 16 + column];
      for (unsigned i = 0; i < 16; ++i) sum += a.values[row * 16 + i] * b.values[i * 16 + column];
      to.values[row * 16 + column] = sum;
    }
  }
}

template <typename F>
void store_matrix_sync(float* to, const F& from, unsigned stride, layout_t /*row major*/) {
  for (unsigned i = 0; i < 256; ++i) to[i / 16 * stride + i % 16] = from.values[i];
}

}  // namespace nvcuda::wmma
