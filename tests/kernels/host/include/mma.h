// The matrix fragments of nvcuda::wmma: lane 0 holds the whole fragment and does the whole product.
#pragma once
#include "cuda_fp16.h"

namespace nvcuda::wmma {
struct matrix_a {};
struct matrix_b {};
struct accumulator {};
struct row_major {};
struct col_major {};
enum layout_t { mem_row_major, mem_col_major };

inline bool leads() { return threadIdx.x % 32 == 0; }

template <typename Use, int M, int N, int K, typename T, typename Layout = void>
struct fragment {
  static constexpr int num_elements = 256;
  union {
    float at[16][16];
    T x[256];
  };
};
template <int M, int N, int K>
struct fragment<accumulator, M, N, K, __half, void> {
  static constexpr int num_elements = 256;
  __half x[256];
};

template <typename Use, typename T, typename Layout>
inline void load_matrix_sync(fragment<Use, 16, 16, 16, T, Layout>& f, const T* from, unsigned ld) {
  if (!leads()) return;
  constexpr bool rows = __is_same(Layout, row_major);
  for (int i = 0; i < 16; i++)
    for (int j = 0; j < 16; j++) f.at[i][j] = __half2float(rows ? from[i * ld + j] : from[j * ld + i]);
}

template <typename F>
inline void fill_fragment(F& f, float value) {
  for (auto& row : f.at)
    for (float& x : row) x = value;
}

template <typename A, typename B, typename C>
inline void mma_sync(C& d, const A& a, const B& b, const C& c) {
  if (!leads()) return;
  for (int i = 0; i < 16; i++)
    for (int j = 0; j < 16; j++) {
      float sum = c.at[i][j];
      for (int k = 0; k < 16; k++) sum += a.at[i][k] * b.at[k][j];
      d.at[i][j] = sum;
    }
}

template <typename F>
inline void store_matrix_sync(float* to, const F& f, unsigned ld, layout_t) {
  if (!leads()) return;
  for (int i = 0; i < 16; i++)
    for (int j = 0; j < 16; j++) to[i * ld + j] = f.at[i][j];
}

inline void load_matrix_sync(fragment<accumulator, 16, 16, 16, float>& f, const float* from, unsigned ld, layout_t) {
  if (!leads()) return;
  for (int i = 0; i < 16; i++)
    for (int j = 0; j < 16; j++) f.at[i][j] = from[i * ld + j];
}

inline void store_matrix_sync(__half* to, const fragment<accumulator, 16, 16, 16, __half>& f, unsigned ld, layout_t) {
  if (!leads()) return;
  for (int i = 0; i < 16; i++)
    for (int j = 0; j < 16; j++) to[i * ld + j] = f.x[i * 16 + j];
}
}  // namespace nvcuda::wmma
