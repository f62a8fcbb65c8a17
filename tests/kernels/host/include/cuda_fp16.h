// Enough of CUDA for the kernels to compile as ordinary C++ and run one thread after the other. See ../run.hpp.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>

struct uint3_ {
  unsigned x, y, z;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) int2 {
  int x, y;
};
extern uint3_ threadIdx, blockIdx, blockDim, gridDim;
void host_barrier(int scope);  // 0: the threads of a block, 1: of a warp

#define __global__
#define __device__
#define __host__
#define __forceinline__
#define __noinline__
#define __restrict__
#define __launch_bounds__(...)
#define __shared__ static
#define __align__(n) __attribute__((aligned(n)))

inline void __syncthreads() { host_barrier(0); }
inline void __syncwarp() { host_barrier(1); }
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline int atomicMax(int* at, int value) {
  const int old = *at;
  *at = max(old, value);
  return old;
}
template <typename T>
inline T __ldg(const T* p) {
  return *p;
}
template <typename T>
inline void __stwb(T* p, T value) {
  *p = value;
}

struct __half {
  _Float16 value;
};
inline float __half2float(__half x) { return (float)x.value; }
inline __half __float2half_rn(float x) { return __half{(_Float16)x}; }

struct __half2 {
  __half x, y;
};
inline __half2 __hmax2(__half2 a, __half2 b) {
  return __half2{a.x.value > b.x.value ? a.x : b.x, a.y.value > b.y.value ? a.y : b.y};
}
struct float2 {
  float x, y;
};
inline __half2 __float22half2_rn(float2 a) { return __half2{__float2half_rn(a.x), __float2half_rn(a.y)}; }
inline __half2 __float2half2_rn(float a) { return __float22half2_rn(float2{a, a}); }
inline float2 __half22float2(__half2 a) { return float2{__half2float(a.x), __half2float(a.y)}; }
inline __half2 __hfma2(__half2 a, __half2 b, __half2 c) {
  return __float22half2_rn(float2{__half2float(a.x) * __half2float(b.x) + __half2float(c.x),
                                  __half2float(a.y) * __half2float(b.y) + __half2float(c.y)});
}
inline __half2 __hadd2(__half2 a, __half2 b) {
  return __float22half2_rn(float2{__half2float(a.x) + __half2float(b.x), __half2float(a.y) + __half2float(b.y)});
}
inline __half2 __hsub2(__half2 a, __half2 b) {
  return __float22half2_rn(float2{__half2float(a.x) - __half2float(b.x), __half2float(a.y) - __half2float(b.y)});
}
