// BlockSample and normalisation of the uint8 frame, and the 7x7 stride-2 stem on tiles: ReLU(conv + bias).
//
// An implicit matrix product: 16x16 outputs of 64 channels a step. The patch of input pixels stands in shared memory as
// 4 halves a pixel, so that the A matrix of 16 neighbouring outputs for one kernel row is 16 rows that overlap: row i
// starts 2 pixels (16 bytes) after row i - 1. K = 7 kernel rows x (8 pixels x 4), zero weights where there is no tap.
#include <mma.h>

#include "common.cuh"

using namespace nvcuda;

constexpr int SIDE = 16;                // outputs of a step, along each axis
constexpr int PATCH = 2 * SIDE + 5;     // input pixels they see
constexpr int PITCH = 40;               // pixels of a patch row in shared memory
constexpr int KERNEL_ROW = 32;          // K of one kernel row
constexpr int OUT = 64;                 // output channels
constexpr int WEIGHT_PITCH = OUT + 8;   // halves; the padding keeps banks apart
constexpr int STAGE_PITCH = 20;         // floats of a row of the staged 16x16 result
constexpr int THREADS = 256;

// BlockSample and normalisation into two pictures of 4 halves a pixel (the fourth is zero): `fine`, where low blocks hold
// their 2x2 means twice each way, is what high tiles see, and `coarse`, the means, what low ones do. `whole`: no blocks,
// only `fine`. One thread for each 2x2 pixels. On the way the first threads fill the table of what lies around each tile.
KERNEL sample_frame(const unsigned char* frame,  // [height, width, 3]
                    const float* norm,           // [6]: offsets (0..255), gains
                    __half* fine,                // [rows, columns, 4]
                    __half* coarse,              // [rows/2, columns/2, 4]
                    int* near,                   // [T, 8], see find_near; not written where `whole`
                    const int* blocks, const int* tiles, int gh, int gw, int n_tiles, int block, int height, int width,
                    int rows, int columns, int whole) {
  const int entry = (blockIdx.y * gridDim.x + blockIdx.x) * blockDim.x + threadIdx.x;
  if (!whole && entry < n_tiles * 8) {
    const Map map{blocks, tiles, gh, gw, 1, 1};
    const int d = entry % 8 + (entry % 8 > 3);
    near[entry] = find_near(map, find_tile(map, entry / 8), d / 3 - 1, d % 3 - 1);
  }
  const int x = 2 * (blockIdx.x * blockDim.x + threadIdx.x), y = 2 * blockIdx.y;
  if (x >= columns) return;
  float value[4][4];
  float mean[4] = {0.f, 0.f, 0.f, 0.f};
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int py = y + (i >> 1), px = x + (i & 1);
    const bool inside = py < height && px < width;
#pragma unroll
    for (int c = 0; c < 3; c++) {
      value[i][c] = inside ? ((float)frame[(py * width + px) * 3 + c] - norm[c]) * norm[3 + c] : 0.f;
      mean[c] += 0.25f * value[i][c];
    }
    value[i][3] = 0.f;
  }
  const bool high = whole || (blocks[y / block * gw + x / block] & 1);
#pragma unroll
  for (int j = 0; j < 2; j++) {
    Pack<__half, 8> pack;
#pragma unroll
    for (int k = 0; k < 8; k++) pack.v[k] = __float2half_rn(high ? value[2 * j + k / 4][k % 4] : mean[k % 4]);
    *reinterpret_cast<Pack<__half, 8>*>(fine + ((long long)(y + j) * columns + x) * 4) = pack;
  }
  if (whole) return;
  Pack<__half, 4> pack;
#pragma unroll
  for (int c = 0; c < 4; c++) pack.v[c] = __float2half_rn(mean[c]);
  *reinterpret_cast<Pack<__half, 4>*>(coarse + ((long long)(y / 2) * (columns / 2) + x / 2) * 4) = pack;
}

// Launch: 256 threads; blocks take the steps (tile, row of steps, column of steps) in turn.
KERNEL __launch_bounds__(THREADS, 2) stem(const __half* fine,     // [rows, columns, 4], see sample_frame
            const __half* coarse,   // [rows/2, columns/2, 4]
            const __half* weights,  // [7 * 32, 64], row = (kernel row * 8 + kernel column) * 4 + channel
            const float* bias,      // [64]
            __half* out,            // [T, oh, ow, 64]
            const int* blocks, const int* tiles, int gh, int gw, int oh, int ow, int rows, int columns, int n_tiles,
            int whole) {
  __shared__ __align__(128) __half weight_rows[7 * KERNEL_ROW * WEIGHT_PITCH];
  __shared__ __align__(128) __half patch[PATCH * PITCH * 4];
  const Map map{blocks, tiles, gh, gw, 2 * oh, 2 * ow};
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int i = threadIdx.x; i < 7 * KERNEL_ROW * OUT / 8; i += blockDim.x)
    *reinterpret_cast<Pack<__half, 8>*>(weight_rows + i / (OUT / 8) * WEIGHT_PITCH + i % (OUT / 8) * 8) =
        *reinterpret_cast<const Pack<__half, 8>*>(weights + i * 8);
  const int steps_x = ow / SIDE, steps = oh / SIDE * steps_x;
  for (int step = blockIdx.x; step < n_tiles * steps; step += gridDim.x) {
    const int t = step / steps, oy = step % steps / steps_x * SIDE, ox = step % steps_x * SIDE;
    const Tile tile = find_tile(map, t);
    const bool on_fine = tile.high || whole;
    const __half* from = on_fine ? fine : coarse;
    const int height = on_fine ? rows : rows / 2, width = on_fine ? columns : columns / 2;
    const int top = tile.y * map.qh + 2 * oy - 3, left = tile.x * map.qw + 2 * ox - 3;
#pragma unroll
    for (int i = threadIdx.x; i < PATCH * PITCH; i += THREADS) {
      const int py = i / PITCH, px = i % PITCH, y = top + py, x = left + px;
      Pack<__half, 4> pixel;
      for (int c = 0; c < 4; c++) pixel.v[c] = __float2half_rn(0.f);
      if (px < PATCH && y >= 0 && x >= 0 && y < height && x < width)
        pixel = *reinterpret_cast<const Pack<__half, 4>*>(from + ((long long)y * width + x) * 4);
      *reinterpret_cast<Pack<__half, 4>*>(patch + i * 4) = pixel;
    }
    __syncthreads();
    wmma::fragment<wmma::accumulator, 16, 16, 16, float> sums[2][OUT / 16];
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
      for (int n = 0; n < OUT / 16; n++) wmma::fill_fragment(sums[m][n], 0.f);
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
        for (int m = 0; m < 2; m++) wmma::mma_sync(sums[m][n], a[m], b, sums[m][n]);
      }
    }
    __syncthreads();
    // The patch is done with: each warp stages its results there, 16x16 at a time.
    float* stage = reinterpret_cast<float*>(patch) + warp * 16 * STAGE_PITCH;
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
      for (int n = 0; n < OUT / 16; n++) {
        wmma::store_matrix_sync(stage, sums[m][n], STAGE_PITCH, wmma::mem_row_major);
        __syncwarp();
        const int pixel = lane / 2, c = n * 16 + lane % 2 * 8;
        Pack<__half, 8> pack;
#pragma unroll
        for (int i = 0; i < 8; i += 4) {
          const auto sum = *reinterpret_cast<const Pack<float, 4>*>(stage + pixel * STAGE_PITCH + lane % 2 * 8 + i);
          const auto shift = *reinterpret_cast<const Pack<float, 4>*>(bias + c + i);
#pragma unroll
          for (int k = 0; k < 4; k++) pack.v[i + k] = __float2half_rn(fmaxf(sum.v[k] + shift.v[k], 0.f));
        }
        const int y = oy + 2 * warp + m, x = ox + pixel;
        *reinterpret_cast<Pack<__half, 8>*>(out + (((long long)t * oh + y) * ow + x) * OUT + c) = pack;
        __syncwarp();
      }
    __syncthreads();
  }
}
