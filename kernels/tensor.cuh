// The tile of a matrix product that one block of threads computes: copies into shared memory and tensor cores.
//
// Operands are tiles of TILE_M (rows of A) and TILE_N (columns of B) rows of 64 halves along K, that is 128 bytes, whose
// 16-byte pieces are permuted (piece ^ row % 8) so that neither copies nor reads meet on a bank. wgmma takes the same
// layout (its 128-byte swizzle); every other architecture reads it by ldmatrix for mma.sync. Compiled as plain C++ each
// thread computes its own elements with loops.
#pragma once
#include "common.cuh"

#ifndef TILE_M
#define TILE_M 128
#endif
#ifndef TILE_N
#define TILE_N 128
#endif
#ifndef STAGES
#define STAGES 3
#endif
#ifndef BULK
#define BULK 0
#endif
#ifndef OVERLAP
#define OVERLAP 0
#endif
#ifndef WARPS
#define WARPS 8
#endif

#if defined(__CUDA_ARCH_FEAT_SM90_ALL) && (TILE_N == 128 || TILE_N == 256) && !defined(NO_WGMMA)
#define WGMMA 1
#else
#define WGMMA 0
#endif

constexpr int TILE_K = 64;
constexpr int ROW_BYTES = TILE_K * 2;
constexpr int STAGE_BYTES = (TILE_M + TILE_N) * ROW_BYTES;
// Products that may be under way while the next stage starts; each still reads a stage, so copies look less far ahead.
constexpr int PENDING = WGMMA ? OVERLAP : 0;
constexpr int AHEAD = STAGES - 1 - PENDING;
#if WGMMA
constexpr int WARP_N = TILE_N, FRAGMENTS_M = TILE_M / (16 * WARPS);
#else
constexpr int WARP_N = 32, WARP_M = TILE_M * (TILE_N / WARP_N) / WARPS, FRAGMENTS_M = WARP_M / 16;
#endif
constexpr int FRAGMENTS_N = WARP_N / 8;
static_assert(FRAGMENTS_M >= 1 && AHEAD >= 1, "too many warps or too few stages");

// A thread's part of the result: fragments of 16x8; the four values are at (row, column), (row, column + 1) and
// 8 rows below.
struct Sums {
  float v[FRAGMENTS_M][FRAGMENTS_N][4];
};

__device__ inline int fragment_row(int i) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#if WGMMA
  return (warp / 4 * FRAGMENTS_M + i) * 64 + warp % 4 * 16 + lane / 4;
#else
  return warp / (TILE_N / WARP_N) * WARP_M + i * 16 + lane / 4;
#endif
}

__device__ inline int fragment_column(int j) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  return (WGMMA ? 0 : warp % (TILE_N / WARP_N) * WARP_N) + j * 8 + lane % 4 * 2;
}

// Where 16-byte piece `piece` of a row lies in an operand's tile.
__device__ inline int piece_at(int row, int piece) { return row * ROW_BYTES + ((piece ^ (row & 7)) << 4); }

#ifdef __CUDA_ARCH__
__device__ inline unsigned shared_address(const void* at) { return (unsigned)__cvta_generic_to_shared(at); }
#endif

// 16 bytes into shared memory; there once the group has been waited for. `keep`: in the L1 cache too.
template <bool keep>
__device__ inline void copy_piece(void* to, const void* from, bool nonzero) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  const int bytes = nonzero ? 16 : 0;  // the rest is filled with zeros
  if (keep)
    asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
                 : "memory");
  else
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
                 : "memory");
#else
  Pack<float, 4> piece{};
  if (nonzero) piece = *reinterpret_cast<const Pack<float, 4>*>(from);
  *reinterpret_cast<Pack<float, 4>*>(to) = piece;
#endif
}

__device__ inline void end_group() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until all but the latest `left` groups are there, for this thread's copies.
template <int left>
__device__ inline void wait_groups() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory");
#endif
#if WGMMA && !defined(NO_FENCE)
  // wgmma reads past the view that ordinary writes go through. Of shared memory only: the full fence takes a microsecond.
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// Weights lie in memory as they do in a stage. With BULK one thread has the hardware copy a stage's, which a barrier in
// shared memory counts; the other threads wait for its `turn`: 0 the first time a stage is filled, then 1, 2, ...
#if BULK && defined(__CUDA_ARCH__)
__device__ inline void start_barrier(unsigned long long* barrier) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared_address(barrier)) : "memory");
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ inline void copy_bulk(void* to, const void* from, int bytes, unsigned long long* barrier) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
               : "memory");
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   shared_address(to)),
               "l"(from), "r"(bytes), "r"(shared_address(barrier))
               : "memory");
}

__device__ inline void wait_bulk(unsigned long long* barrier, int turn) {
  asm volatile("{\n.reg .pred p;\nwait:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@!p bra wait;\n}\n" ::"r"(
                   shared_address(barrier)),
               "r"(turn & 1)
               : "memory");
}
#else
__device__ inline void start_barrier(unsigned long long*) {}
__device__ inline void copy_bulk(void*, const void*, int, unsigned long long*) {}
__device__ inline void wait_bulk(unsigned long long*, int) {}
#endif

#if WGMMA
__device__ inline unsigned long long describe(const unsigned char* tile) {
  return (unsigned long long)((shared_address(tile) & 0x3FFFF) >> 4) | 1ull << 16 | 64ull << 32 | 1ull << 62;
}

#define FOUR(i) "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])
#define SIXTEEN(i) FOUR(i), FOUR(i + 1), FOUR(i + 2), FOUR(i + 3)

// d [64, TILE_N] (+)= a [64, 16] b [TILE_N, 16]^T, for a group of four warps.
#if TILE_N == 128
__device__ inline void wgmma(float (*d)[4], unsigned long long a, unsigned long long b, bool add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "%64, %65, p, 1, 1, 0, 0;\n}\n"
      : SIXTEEN(0), SIXTEEN(4), SIXTEEN(8), SIXTEEN(12)
      : "l"(a), "l"(b), "r"((int)add));
}
#else
__device__ inline void wgmma(float (*d)[4], unsigned long long a, unsigned long long b, bool add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n256k16.f32.f16.f16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
      "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
      "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, "
      "%128, %129, p, 1, 1, 0, 0;\n}\n"
      : SIXTEEN(0), SIXTEEN(4), SIXTEEN(8), SIXTEEN(12), SIXTEEN(16), SIXTEEN(20), SIXTEEN(24), SIXTEEN(28)
      : "l"(a), "l"(b), "r"((int)add));
}
#endif
#endif

// Adds the product of two operands' tiles to the sums, or (not `add`) begins them. With wgmma it is under way only, until
// `wait_products`; sums set to zero by other instructions would make the compiler wait for each product.
__device__ inline void multiply(Sums& sums, const unsigned char* a, const unsigned char* b, bool add) {
#if WGMMA
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
  const unsigned long long first_a = describe(a + threadIdx.x / 128 * FRAGMENTS_M * 64 * ROW_BYTES);
  const unsigned long long first_b = describe(b);
#pragma unroll
  for (int k = 0; k < TILE_K / 16; k++)
#pragma unroll
    for (int i = 0; i < FRAGMENTS_M; i++)  // offsets in units of 16 bytes
      wgmma(sums.v[i], first_a + 2 * k + i * 4 * ROW_BYTES, first_b + 2 * k, k > 0 || add);
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#else
  if (!add) sums = Sums{};
#endif
#if !WGMMA && defined(__CUDA_ARCH__)
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int row = warp / (TILE_N / WARP_N) * WARP_M + lane % 16;
  const int column = warp % (TILE_N / WARP_N) * WARP_N + lane % 8 + lane / 16 * 8;
  const unsigned from_a = shared_address(a), from_b = shared_address(b);
#pragma unroll
  for (int k = 0; k < TILE_K / 16; k++) {
    unsigned fa[FRAGMENTS_M][4], fb[FRAGMENTS_N / 2][4];
    const auto load = [](unsigned(&to)[4], unsigned at) {
      asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                   : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                   : "r"(at));
    };
#pragma unroll
    for (int i = 0; i < FRAGMENTS_M; i++) load(fa[i], from_a + piece_at(row + 16 * i, 2 * k + lane / 16));
#pragma unroll
    for (int j = 0; j < FRAGMENTS_N / 2; j++) load(fb[j], from_b + piece_at(column + 16 * j, 2 * k + lane / 8 % 2));
#pragma unroll
    for (int i = 0; i < FRAGMENTS_M; i++)
#pragma unroll
      for (int j = 0; j < FRAGMENTS_N; j++) {
        float(&d)[4] = sums.v[i][j];
        const unsigned b0 = fb[j / 2][j % 2 * 2], b1 = fb[j / 2][j % 2 * 2 + 1];
#if __CUDA_ARCH__ >= 800
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
                     "{%8, %9}, {%0, %1, %2, %3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(fa[i][0]), "r"(fa[i][1]), "r"(fa[i][2]), "r"(fa[i][3]), "r"(b0), "r"(b1));
#else
#pragma unroll
        for (int half = 0; half < 2; half++)
          asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
                       "{%0, %1, %2, %3};"
                       : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                       : "r"(fa[i][2 * half]), "r"(fa[i][2 * half + 1]), "r"(half ? b1 : b0));
#endif
      }
  }
#elif !defined(__CUDA_ARCH__)
  const auto at = [](const unsigned char* tile, int row, int k) {
    return to_float(reinterpret_cast<const __half*>(tile + piece_at(row, k / 8))[k % 8]);
  };
  for (int i = 0; i < FRAGMENTS_M; i++)
    for (int j = 0; j < FRAGMENTS_N; j++)
      for (int e = 0; e < 4; e++)
        for (int k = 0; k < TILE_K; k++)
          sums.v[i][j][e] += at(a, fragment_row(i) + e / 2 * 8, k) * at(b, fragment_column(j) + e % 2, k);
#endif
}

// Waits until at most `left` products of this thread's warps are under way.
template <int left>
__device__ inline void wait_products() {
#if WGMMA
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(left) : "memory");
#endif
}
