// Matrix products of a warp group on Hopper, and what stands for them elsewhere.
#pragma once
#include <cuda_fp16.h>

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
// An operand in shared memory, without a swizzle: pieces of 8 rows (of A, or columns of B) x 16 bytes (8 of K), a row 16
// bytes after the one before. `next_k`, `next_rows`: bytes to the next piece along K and to the next eight rows. Adding n
// moves it by 16 * n bytes.
__device__ inline unsigned long long operand(const __half* at, int next_k, int next_rows) {
  const unsigned address = (unsigned)__cvta_generic_to_shared(at);
  return (unsigned long long)(address >> 4 & 0x3FFF) | (unsigned long long)(next_k >> 4) << 16 |
         (unsigned long long)(next_rows >> 4) << 32;
}

// What ordinary stores put into shared memory, wgmma sees after this and a barrier.
__device__ inline void show_to_products() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// d += a @ b: [64, 16] @ [16, 64]. Row 16 * warp + 8 * h + lane / 4, column 8 * j + lane % 4 * 2 + i of d is d[4 * j + 2 * h + i].
#define FOUR(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
__device__ inline void add_product(float (&d)[32], unsigned long long a, unsigned long long b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31}, %32, %33, 1, 1, 1, 0, 0;"
      : FOUR(d, 0), FOUR(d, 4), FOUR(d, 8), FOUR(d, 12), FOUR(d, 16), FOUR(d, 20), FOUR(d, 24), FOUR(d, 28)
      : "l"(a), "l"(b));
}

__device__ inline void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

__device__ inline void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

__device__ inline void await_products() { asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory"); }
#else
__device__ inline void show_to_products() {}
#endif
