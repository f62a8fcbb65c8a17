// BlockSample, normalisation and the 7x7 stride-2 stem in one: from the uint8 frame to ReLU(conv + bias) on tiles.
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

// The normalised pixel (y, x) of the canvas of a tile's resolution, as BlockPad over BlockSample has it.
__device__ inline void sample_pixel(const unsigned char* frame, const float* norm, const Map& map, const Tile& tile,
                                    int y, int x, int height, int width, int whole, __half* out) {
  const int per = tile.high ? 2 : 1;
  int n = 1;  // side of the square of frame pixels whose mean this is
  bool inside = y >= 0 && x >= 0 && y < per * map.gh * map.qh && x < per * map.gw * map.qw;
  if (inside && tile.high) {
    const int gy = y / (2 * map.qh), gx = x / (2 * map.qw);
    if (!(map.blocks[(tile.n * map.gh + gy) * map.gw + gx] & 1)) n = 2, y &= ~1, x &= ~1;
  } else if (!tile.high && !whole) {
    n = 2, y *= 2, x *= 2;
  }
  for (int c = 0; c < 3; c++) {
    float sum = 0.f;
    if (inside) {
      for (int j = y; j < min(y + n, height); j++)
        for (int i = x; i < min(x + n, width); i++) sum += (float)frame[(j * width + i) * 3 + c] - norm[c];
      sum *= norm[3 + c] * (n == 1 ? 1.f : 0.25f);
    }
    out[c] = __float2half_rn(sum);
  }
  out[3] = __float2half_rn(0.f);
}

// Launch: 256 threads; blocks take the steps (tile, row of steps, column of steps) in turn.
KERNEL stem(const unsigned char* frame,  // [height, width, 3]
            const float* norm,           // [6]: offsets (0..255), gains
            const __half* weights,       // [7 * 32, 64], row = (kernel row * 8 + kernel column) * 4 + channel
            const float* bias,           // [64]
            __half* out,                 // [T, oh, ow, 64]
            const int* blocks, const int* tiles, int gh, int gw, int oh, int ow, int height, int width, int n_tiles,
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
    for (int i = threadIdx.x; i < PATCH * PITCH; i += blockDim.x) {
      const int py = i / PITCH, px = i % PITCH;
      const bool used = px < PATCH;
      sample_pixel(frame, norm, map, tile, used ? tile.y * map.qh + 2 * oy + py - 3 : -1,
                   tile.x * map.qw + 2 * ox + px - 3, height, width, whole, patch + i * 4);
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
        for (int i = 0; i < 8; i++)
          pack.v[i] = __float2half_rn(fmaxf(stage[pixel * STAGE_PITCH + lane % 2 * 8 + i] + bias[c + i], 0.f));
        const int y = oy + 2 * warp + m, x = ox + pixel;
        *reinterpret_cast<Pack<__half, 8>*>(out + (((long long)t * oh + y) * ow + x) * OUT + c) = pack;
        __syncwarp();
      }
    __syncthreads();
  }
}
