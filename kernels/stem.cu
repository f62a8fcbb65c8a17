// BlockSample and normalisation of the uint8 frame, and the 7x7 stride-2 stem on tiles with its ReLU and max pooling.
//
// An implicit matrix product: 16x16 outputs of 64 channels a step. The patch of input pixels stands in shared memory as
// 4 halves a pixel, so that the A matrix of 16 neighbouring outputs for one kernel row is 16 rows that overlap: row i
// starts 2 pixels (16 bytes) after row i - 1. K = 7 kernel rows x (8 pixels x 4), zero weights where there is no tap.
//
// A step pools its 16x16 outputs to 8x8. Pixels of the first pooled row and column lack what lies above and left of the
// step; pool_border (glue.cu) adds it. For it the last two rows and columns of a step are written at full size (one would
// do, but a low tile beside a high one sees 2x2 means).
#include <mma.h>

#include "common.cuh"
#include "wgmma.cuh"

using namespace nvcuda;

constexpr int SIDE = 16;                // outputs of a step, along each axis
constexpr int PATCH = 2 * SIDE + 5;     // input pixels they see
constexpr int PITCH = 40;               // pixels of a patch row in shared memory
constexpr int KERNEL_ROW = 32;          // K of one kernel row
constexpr int OUT = 64;                 // output channels
constexpr int WEIGHT_PITCH = OUT + 8;   // halves; the padding keeps banks apart
constexpr int PART = 32;                // channels that are pooled at a time
constexpr int PART_PITCH = PART + 8;    // halves of a pixel of the step's outputs in shared memory
constexpr int THREADS = 256;
constexpr int PIXELS_EACH = (PATCH * PITCH + THREADS - 1) / THREADS;  // of a patch, that a thread loads
constexpr int WEIGHT_HALVES = 7 * KERNEL_ROW * WEIGHT_PITCH, PATCH_HALVES = PATCH * PITCH * 4;

// Weights, patch and outputs: 64576 bytes, see STEM_SHARED in segstream/engines/cuda_glue.py.
#ifdef __CUDACC__
extern __shared__ __align__(128) __half stem_shared[];
#else
alignas(128) static __half stem_shared[WEIGHT_HALVES + PATCH_HALVES + SIDE * SIDE * PART_PITCH];
#endif

// The product of a step: 16x16 outputs x 64 channels, shared by the eight warps.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
// wgmma: a warp group (four warps) takes 8x8 outputs at a time as the 64 rows of A. The rows of a piece of A are eight
// neighbouring outputs, 16 bytes apart and overlapping, the next piece of K begins 16 bytes on, the next eight rows two
// patch rows down. Weights stand as [K / 8, 64, 8].
struct Sums {
  float v[2][32];  // [8x8 outputs, as wgmma lays them out]
};

__device__ inline void keep_weights(__half* to, const __half* weights) {
  for (int i = threadIdx.x; i < 7 * KERNEL_ROW / 8 * OUT; i += THREADS) {
    const int k = i / OUT * 8, n = i % OUT;
    Raw pack;
#pragma unroll
    for (int j = 0; j < 8; j++) pack.v[j] = weights[(k + j) * OUT + n];
    *reinterpret_cast<RawWord*>(to + i * 8) = reinterpret_cast<const RawWord&>(pack);
  }
}

__device__ inline void take_product(Sums& sums, const __half* patch, const __half* weight_rows, const float* bias) {
  const int group = threadIdx.x / 128, lane = threadIdx.x % 32;
#pragma unroll
  for (int j = 0; j < 8; j++) {
    const float2 shift = *reinterpret_cast<const float2*>(bias + 8 * j + lane % 4 * 2);
#pragma unroll
    for (int i = 0; i < 4; i++) sums.v[0][4 * j + i] = sums.v[1][4 * j + i] = i & 1 ? shift.y : shift.x;
  }
  const unsigned long long pixels = operand(patch + 16 * group * PITCH * 4, 16, 2 * PITCH * 8);
  const unsigned long long columns = operand(weight_rows, OUT * 16, 128);
#pragma unroll
  for (int i = 0; i < 32; i++) asm volatile("" : "+f"(sums.v[0][i]), "+f"(sums.v[1][i])::"memory");  // not to be set later
  begin_products();
#pragma unroll
  for (int k = 0; k < 14; k++)
#pragma unroll
    for (int m = 0; m < 2; m++)  // rows 8 * group.. of the step, columns 8 * m..; moved by so many times 16 bytes
      add_product(sums.v[m], pixels + k / 2 * (PITCH / 2) + m * 8 + k % 2 * 2, columns + k * 2 * OUT);
  commit_products();
  await_products();
#pragma unroll
  for (int i = 0; i < 32; i++) asm volatile("" : "+f"(sums.v[0][i]), "+f"(sums.v[1][i])::"memory");  // not to be read earlier
}

// Channels [first, first + PART) after ReLU, as halves [16 * 16 outputs, PART_PITCH].
__device__ inline void keep_sums(const Sums& sums, __half* part, int first) {
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
#pragma unroll
  for (int m = 0; m < 2; m++)
#pragma unroll
    for (int j = 0; j < PART / 8; j++)
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const int row = 8 * group + 2 * warp + h, column = 8 * m + lane / 4, i = 4 * (first / 8 + j) + 2 * h;
        const __half2 pair = __float22half2_rn(float2{fmaxf(sums.v[m][i], 0.f), fmaxf(sums.v[m][i + 1], 0.f)});
        *reinterpret_cast<__half2*>(part + (row * SIDE + column) * PART_PITCH + 8 * j + lane % 4 * 2) = pair;
      }
}
#else
// wmma: a warp takes two rows of 16 outputs. Weights stand as [K, WEIGHT_PITCH].
struct Sums {
  wmma::fragment<wmma::accumulator, 16, 16, 16, float> v[2][OUT / 16];
};

__device__ inline void keep_weights(__half* to, const __half* weights) {
  for (int i = threadIdx.x; i < 7 * KERNEL_ROW * OUT / 8; i += THREADS)
    *reinterpret_cast<Pack<__half, 8>*>(to + i / (OUT / 8) * WEIGHT_PITCH + i % (OUT / 8) * 8) =
        *reinterpret_cast<const Pack<__half, 8>*>(weights + i * 8);
}

__device__ inline void take_product(Sums& sums, const __half* patch, const __half* weight_rows, const float* bias) {
  const int warp = threadIdx.x / 32;
#pragma unroll
  for (int n = 0; n < OUT / 16; n++) {
    wmma::load_matrix_sync(sums.v[0][n], bias + n * 16, 0, wmma::mem_row_major);  // the same row sixteen times
    sums.v[1][n] = sums.v[0][n];
  }
#pragma unroll 2
  for (int k = 0; k < 14; k++) {
    wmma::fragment<wmma::matrix_a, 16, 16, 16, __half, wmma::row_major> a[2];
    wmma::fragment<wmma::matrix_b, 16, 16, 16, __half, wmma::row_major> b;
#pragma unroll
    for (int m = 0; m < 2; m++)
      wmma::load_matrix_sync(a[m], patch + (2 * (2 * warp + m) + k / 2) * PITCH * 4 + k % 2 * 16, 8);
#pragma unroll
    for (int n = 0; n < OUT / 16; n++) {
      wmma::load_matrix_sync(b, weight_rows + k * 16 * WEIGHT_PITCH + n * 16, WEIGHT_PITCH);
#pragma unroll
      for (int m = 0; m < 2; m++) wmma::mma_sync(sums.v[m][n], a[m], b, sums.v[m][n]);
    }
  }
}

// Channels [first, first + PART) after ReLU, as halves [16 * 16 outputs, PART_PITCH].
__device__ inline void keep_sums(const Sums& sums, __half* part, int first) {
  const int warp = threadIdx.x / 32;
#pragma unroll
  for (int m = 0; m < 2; m++)
#pragma unroll
    for (int n = 0; n < PART / 16; n++) {
      // Fragments of sums in half and in float hold the same places.
      wmma::fragment<wmma::accumulator, 16, 16, 16, __half> halves;
      const auto& sum = sums.v[m][first / 16 + n];
#pragma unroll
      for (int i = 0; i < sum.num_elements; i++) halves.x[i] = __float2half_rn(fmaxf(sum.x[i], 0.f));
      wmma::store_matrix_sync(part + (2 * warp + m) * SIDE * PART_PITCH + n * 16, halves, PART_PITCH, wmma::mem_row_major);
    }
}
#endif

__device__ inline Raw larger(const Raw& a, const Raw& b) {
  Raw out;
#pragma unroll
  for (int i = 0; i < VEC; i += 2)
    reinterpret_cast<__half2&>(out.v[i]) =
        __hmax2(reinterpret_cast<const __half2&>(a.v[i]), reinterpret_cast<const __half2&>(b.v[i]));
  return out;
}

// BlockSample and normalisation into two pictures of 4 halves a pixel (the fourth is zero): `fine`, where low blocks hold
// their 2x2 means twice each way, is what high tiles see, and `coarse`, the means, what low ones do. `whole`: no blocks,
// only `fine`. Both are written only where some tile sees them: in its block and a margin around it. One thread for 4x2
// pixels. On the way the first threads fill the table of what lies around each tile.
constexpr int MARGIN = 8;  // pixels; the stem sees 3 beyond a tile, on `coarse` 6 of the frame's
constexpr int WIDE = 4;    // pixels of a thread along a row

KERNEL sample_frame(const unsigned char* __restrict__ frame,  // [height, width, 3]
                    const float* __restrict__ norm,           // [6]: offsets (0..255), gains
                    __half* __restrict__ fine,                // [rows, columns, 4]
                    __half* __restrict__ coarse,              // [rows/2, columns/2, 4]
                    int* __restrict__ near,                   // [T, 8], see find_near; not written where `whole`
                    int* __restrict__ near_high,              // null, or that of high tiles with -1 for low neighbours
                    const int* __restrict__ blocks, const int* __restrict__ tiles, int gh, int gw, int n_tiles, int block,
                    int height, int width, int rows, int columns, int whole) {
  after_previous();
  const int entry = (blockIdx.y * gridDim.x + blockIdx.x) * blockDim.x + threadIdx.x;
  if (!whole && entry < n_tiles * 8) {
    const Map map{blocks, tiles, gh, gw, 1, 1};
    const Tile tile = find_tile(map, entry / 8);
    const int d = entry % 8 + (entry % 8 > 3), found = find_near(map, tile, d / 3 - 1, d % 3 - 1);
    near[entry] = found;
    if (near_high && tile.high) near_high[entry] = found & COARSER ? -1 : found;
  }
  const int x = WIDE * (blockIdx.x * blockDim.x + threadIdx.x), y = 2 * blockIdx.y;
  if (x >= columns) return;
  unsigned char bytes[2][3 * WIDE];
  const bool words = width % WIDE == 0;  // a thread's bytes of a row are three whole words
#pragma unroll
  for (int j = 0; j < 2; j++) {
    const unsigned char* from = frame + ((long long)(y + j) * width + x) * 3;
    if (words && y + j < height && x < width) {
#pragma unroll
      for (int i = 0; i < 3; i++) {
        const int word = reinterpret_cast<const int*>(from)[i];
#pragma unroll
        for (int k = 0; k < 4; k++) bytes[j][4 * i + k] = (unsigned char)(word >> (8 * k));
      }
    } else {
#pragma unroll
      for (int i = 0; i < 3 * WIDE; i++) bytes[j][i] = y + j < height && x + i / 3 < width ? from[i] : 0;
    }
  }
  bool on_fine = whole, on_coarse = false, high = whole;
  if (!whole) {
    const int gy = y / block, gx = x / block, top = y - gy * block, left = x - gx * block;
    high = blocks[gy * gw + gx] & 1;
    on_fine = high, on_coarse = !high;
    const int above = top < MARGIN ? -1 : 0, below = top >= block - MARGIN ? 1 : 0;
    const int before = left < MARGIN ? -1 : 0, behind = left >= block - MARGIN ? 1 : 0;
    for (int by = max(gy + above, 0); by <= min(gy + below, gh - 1); by++)
      for (int bx = max(gx + before, 0); bx <= min(gx + behind, gw - 1); bx++) {
        const bool other = blocks[by * gw + bx] & 1;
        on_fine = on_fine || other, on_coarse = on_coarse || !other;
      }
  }
  float value[2][WIDE][3], mean[WIDE / 2][3] = {};
#pragma unroll
  for (int j = 0; j < 2; j++)
#pragma unroll
    for (int i = 0; i < WIDE; i++) {
      const bool inside = y + j < height && x + i < width;
#pragma unroll
      for (int c = 0; c < 3; c++) {
        value[j][i][c] = inside ? ((float)bytes[j][3 * i + c] - norm[c]) * norm[3 + c] : 0.f;
        mean[i / 2][c] += 0.25f * value[j][i][c];
      }
    }
  if (on_fine) {
#pragma unroll
    for (int i = 0; i < 2 * WIDE; i += 2) {  // two pixels, 16 bytes
      const int row = i / WIDE, column = i % WIDE;
      Raw pack;
#pragma unroll
      for (int k = 0; k < 8; k++)
        from_float(k % 4 == 3 ? 0.f : high ? value[row][column + k / 4][k % 4] : mean[column / 2][k % 4], pack.v[k]);
      store_raw(fine + ((long long)(y + row) * columns + x + column) * 4, pack);
    }
  }
  if (on_coarse) {
    Raw pack;
#pragma unroll
    for (int k = 0; k < 8; k++) from_float(k % 4 == 3 ? 0.f : mean[k / 4][k % 4], pack.v[k]);
    store_raw(coarse + ((long long)(y / 2) * (columns / 2) + x / 2) * 4, pack);
  }
}

// Launch: 256 threads; blocks take the steps (tile, row, column) in turn.
KERNEL __launch_bounds__(THREADS, 2) stem(
    const __half* __restrict__ fine,     // [rows, columns, 4], see sample_frame
    const __half* __restrict__ coarse,   // [rows/2, columns/2, 4]
    const __half* __restrict__ weights,  // [7 * 32, 64], row = (kernel row * 8 + kernel column) * 4 + channel
    const float* __restrict__ bias,      // [64]
    __half* __restrict__ edges,          // [T, oh, ow, 64], only the last two rows and columns of each 16x16 written
    __half* __restrict__ pooled,         // [T, oh/2, ow/2, 64]
    __half* __restrict__ padded,         // [T, oh/2+2, ow/2+2, 64], only what is final; not written where p = 0
    const int* __restrict__ tiles, int gh, int gw, int oh, int ow, int rows, int columns, int n_tiles, int p, int whole) {
  __half* weight_rows = stem_shared;
  __half* patch = weight_rows + WEIGHT_HALVES;
  __half* part = patch + PATCH_HALVES;  // [16 * 16 pixels, PART_PITCH]
  const Map map{nullptr, tiles, gh, gw, 2 * oh, 2 * ow};
  keep_weights(weight_rows, weights);
  after_previous();
  const int steps_x = ow / SIDE, per_tile = oh / SIDE * steps_x, steps = n_tiles * per_tile;
  int2 ahead[PIXELS_EACH];  // the next step's patch, loaded while this one's product is taken
  const auto load_patch = [&](int step) {
    const Tile tile = find_tile(map, step / per_tile);
    const int oy = step % per_tile / steps_x * SIDE, ox = step % steps_x * SIDE;
    const bool on_fine = tile.high || whole;
    const __half* from = on_fine ? fine : coarse;
    const int height = on_fine ? rows : rows / 2, width = on_fine ? columns : columns / 2;
    const int top = tile.y * map.qh + 2 * oy - 3, left = tile.x * map.qw + 2 * ox - 3;
#pragma unroll
    for (int j = 0; j < PIXELS_EACH; j++) {
      const int i = threadIdx.x + j * THREADS, py = i / PITCH, px = i % PITCH, y = top + py, x = left + px;
      ahead[j] = int2{0, 0};
      if (py < PATCH && px < PATCH && y >= 0 && x >= 0 && y < height && x < width)
        ahead[j] = *reinterpret_cast<const int2*>(from + ((long long)y * width + x) * 4);
    }
  };
  const auto keep_patch = [&] {
#pragma unroll
    for (int j = 0; j < PIXELS_EACH; j++) {
      const int i = threadIdx.x + j * THREADS;
      if (i < PATCH * PITCH) *reinterpret_cast<int2*>(patch + i * 4) = ahead[j];
    }
    show_to_products();
  };
  if ((int)blockIdx.x < steps) load_patch(blockIdx.x);
  keep_patch();
  __syncthreads();
  for (int step = blockIdx.x; step < steps; step += gridDim.x) {
    if (step + (int)gridDim.x < steps) load_patch(step + gridDim.x);
    Sums sums;
    take_product(sums, patch, weight_rows, bias);
    __syncthreads();
    keep_patch();
    const int t = step / per_tile, oy = step % per_tile / steps_x * SIDE, ox = step % steps_x * SIDE;
#pragma unroll
    for (int first = 0; first < OUT; first += PART) {
      if (first) __syncthreads();
      keep_sums(sums, part, first);
      __syncthreads();
      const int c = threadIdx.x % (PART / 8) * 8, item = threadIdx.x / (PART / 8), y = item / 8, x = item % 8;
      const auto read = [&](int row, int column) { return load_raw(part + (row * SIDE + column) * PART_PITCH + c); };
      Raw most = read(2 * y, 2 * x);
#pragma unroll
      for (int i = 0; i < 9; i++) {
        const int row = 2 * y - 1 + i / 3, column = 2 * x - 1 + i % 3;
        if (i != 4 && row >= 0 && column >= 0) most = larger(most, read(row, column));
      }
      const int py = oy / 2 + y, px = ox / 2 + x;
      store_raw(pooled + (((long long)t * (oh / 2) + py) * (ow / 2) + px) * OUT + first + c, most);
      if (p && y && x)
        store_raw(padded + (((long long)t * (oh / 2 + 2) + py + 1) * (ow / 2 + 2) + px + 1) * OUT + first + c, most);
      if (item < 60) {
        const int row = item < 32 ? 14 + item / 16 : (item - 32) / 2, column = item < 32 ? item % 16 : 14 + item % 2;
        store_raw(edges + (((long long)t * oh + oy + row) * ow + ox + column) * OUT + first + c, read(row, column));
      }
    }
  }
}
