// The end of the network: batch norm, ReLU and the 1x1 layer of the classes; then the class of every frame pixel.
#include <mma.h>

#include "common.cuh"

using namespace nvcuda;

constexpr int ROWS = 128;       // rows a block of threads computes
constexpr int DEPTH = 128;      // channels of the decoder at most
#ifndef CLASS_COLUMNS
#define CLASS_COLUMNS 32
#endif
constexpr int COLUMNS = CLASS_COLUMNS;  // classes a pass computes: 16 or 32
constexpr int A_PITCH = DEPTH + 8, B_PITCH = COLUMNS + 8, STAGE_PITCH = COLUMNS + 8;

// Columns [first_column, first_column + COLUMNS) of the weights, by all threads of a block.
__device__ inline void load_columns(__half* b_rows,         // [depth, B_PITCH]
                                    const __half* weights,  // [depth, columns]
                                    int depth, int columns, int first_column) {
  for (int i = threadIdx.x; i < depth * COLUMNS / 8; i += blockDim.x) {
    const int k = i / (COLUMNS / 8), n = i % (COLUMNS / 8) * 8;
    *reinterpret_cast<Pack<__half, 8>*>(b_rows + k * B_PITCH + n) =
        *reinterpret_cast<const Pack<__half, 8>*>(weights + (long long)k * columns + first_column + n);
  }
}

// relu(x * scale + shift) of the rows [first, first + ROWS), by all threads of a block. Rows past the last hold
// anything: their results are not stored.
__device__ inline void load_rows(__half* a_rows,      // [ROWS, A_PITCH]
                                 const __half* x,     // [rows, depth]
                                 const float* scale,  // [depth]
                                 const float* shift,  // [depth]
                                 int first, int rows, int depth) {
  // A thread keeps to its eight channels.
  constexpr int AHEAD = 8;  // loads under way
  const int groups = depth / 8;
  const int c = threadIdx.x % groups * 8, own = threadIdx.x / groups, rows_at_once = blockDim.x / groups;
  const auto gain = *reinterpret_cast<const Pack<float, 8>*>(scale + c);
  const auto offset = *reinterpret_cast<const Pack<float, 8>*>(shift + c);
  for (int begin = own; own < rows_at_once && begin < ROWS; begin += AHEAD * rows_at_once) {
    Raw packs[AHEAD];
#pragma unroll
    for (int j = 0; j < AHEAD; j++) {
      const int row = begin + j * rows_at_once;
      if (row < ROWS && first + row < rows) packs[j] = load_raw(x + (long long)(first + row) * depth + c);
    }
#pragma unroll
    for (int j = 0; j < AHEAD; j++) {
      const int row = begin + j * rows_at_once;
      if (row >= ROWS) continue;
      Raw pack;
#pragma unroll
      for (int k = 0; k < 8; k += 2) {
        const float2 value = __half22float2(reinterpret_cast<const __half2&>(packs[j].v[k]));
        const float2 sum{value.x * gain.v[k] + offset.v[k], value.y * gain.v[k + 1] + offset.v[k + 1]};
        reinterpret_cast<__half2&>(pack.v[k]) = __hmax2(__float22half2_rn(sum), __float2half2_rn(0.f));
      }
      *reinterpret_cast<RawWord*>(a_rows + row * A_PITCH + c) = reinterpret_cast<const RawWord&>(pack);
    }
  }
}

// Rows @ columns + bias, as halves: each warp leaves its 16 rows in its part of `stage`, which may lie where the rows
// or the columns were.
__device__ inline void multiply_rows(const __half* a_rows,  // [ROWS, A_PITCH]
                                     const __half* b_rows,  // [depth, B_PITCH]
                                     const float* bias,     // [COLUMNS]
                                     __half* stage,         // [ROWS, STAGE_PITCH]
                                     int depth) {
  const int warp = threadIdx.x / 32;
  wmma::fragment<wmma::accumulator, 16, 16, 16, float> sums[COLUMNS / 16];
#pragma unroll
  for (int n = 0; n < COLUMNS / 16; n++)  // the same row sixteen times
    wmma::load_matrix_sync(sums[n], bias + n * 16, 0, wmma::mem_row_major);
  for (int k = 0; k < depth / 16; k++) {
    wmma::fragment<wmma::matrix_a, 16, 16, 16, __half, wmma::row_major> a;
    wmma::load_matrix_sync(a, a_rows + warp * 16 * A_PITCH + k * 16, A_PITCH);
#pragma unroll
    for (int n = 0; n < COLUMNS / 16; n++) {
      wmma::fragment<wmma::matrix_b, 16, 16, 16, __half, wmma::row_major> b;
      wmma::load_matrix_sync(b, b_rows + k * 16 * B_PITCH + n * 16, B_PITCH);
      wmma::mma_sync(sums[n], a, b, sums[n]);
    }
  }
  __syncthreads();
#pragma unroll
  for (int n = 0; n < COLUMNS / 16; n++) {
    // Fragments of sums in half and in float hold the same places.
    wmma::fragment<wmma::accumulator, 16, 16, 16, __half> halves;
#pragma unroll
    for (int i = 0; i < sums[n].num_elements; i++) halves.x[i] = __float2half_rn(sums[n].x[i]);
    wmma::store_matrix_sync(stage + warp * 16 * STAGE_PITCH + n * 16, halves, STAGE_PITCH, wmma::mem_row_major);
  }
  __syncwarp();
}

// relu(x * scale + shift) @ weights + bias. Launch: 256 threads, blockIdx.x = group of rows, blockIdx.y = group of
// classes.
KERNEL class_logits(const __half* x,        // [rows, depth], depth a multiple of 16, at most 128
                    const float* scale,     // [depth]
                    const float* shift,     // [depth]
                    const __half* weights,  // [depth, columns], columns a multiple of COLUMNS
                    const float* bias,      // [columns]
                    __half* out,            // [rows, columns]
                    int rows, int depth, int columns) {
#ifdef FIXED_DEPTH
  depth = FIXED_DEPTH;
#endif
  __shared__ __align__(128) __half a_rows[ROWS * A_PITCH];
  __shared__ __align__(128) __half b_rows[DEPTH * B_PITCH];
  const int first = blockIdx.x * ROWS, first_column = blockIdx.y * COLUMNS;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  load_columns(b_rows, weights, depth, columns, first_column);
  after_previous();
  load_rows(a_rows, x, scale, shift, first, rows, depth);
  __syncthreads();
  multiply_rows(a_rows, b_rows, bias + first_column, a_rows, depth);
  for (int i = lane; i < 16 * COLUMNS / 8; i += 32) {
    const int row = warp * 16 + i / (COLUMNS / 8), c = i % (COLUMNS / 8) * 8;
    if (first + row < rows)
      store_raw(out + (long long)(first + row) * columns + first_column + c,
                load_raw(a_rows + row * STAGE_PITCH + c));
  }
}

// The same with BlockCombine of one image, for networks whose low tiles have a last layer of their own: it makes 2x2
// pixels of each, so that every logit only has to go to its place. Launch: 256 threads; the first `high_groups` blocks
// of threads have groups of rows of the high tiles, the others those of the low ones.
KERNEL place_logits(const __half* x,             // [T, qh, qw, depth], the first `first_low` tiles high
                    const float* scale,          // [depth]
                    const float* shift,          // [depth]
                    const __half* high_weights,  // [depth, channels]: padded classes, a multiple of COLUMNS
                    const float* high_bias,      // [channels]
                    const __half* low_weights,   // [depth, 2, 2, channels]
                    const float* low_bias,       // [2, 2, channels]
                    __half* out,                 // [GH*2qh, GW*2qw, channels]
                    const int* tiles,            // [T]
                    int gh, int gw, int n_tiles, int first_low, int high_groups, int qh, int qw, int depth,
                    int channels) {
  FIX_SIDES;
#ifdef FIXED_DEPTH
  depth = FIXED_DEPTH;
#endif
  __shared__ __align__(128) __half a_rows[ROWS * A_PITCH];
  __shared__ __align__(128) __half b_rows[ROWS * B_PITCH];  // the weights, and then the product
  static_assert(ROWS >= DEPTH && B_PITCH == STAGE_PITCH);
  const Map map{nullptr, tiles, gh, gw, qh, qw};
  const bool low = (int)blockIdx.x >= high_groups;
  const int high_rows = first_low * qh * qw, rows = low ? n_tiles * qh * qw : high_rows;
  const int first = low ? high_rows + ((int)blockIdx.x - high_groups) * ROWS : blockIdx.x * ROWS;
  const int columns = low ? 4 * channels : channels, scaling = low ? 2 : 1;
  const __half* weights = low ? low_weights : high_weights;
  const float* bias = low ? low_bias : high_bias;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  load_columns(b_rows, weights, depth, columns, 0);
  after_previous();
  load_rows(a_rows, x, scale, shift, first, rows, depth);
  for (int column = 0; column < columns; column += COLUMNS) {
    if (column) {
      __syncthreads();
      load_columns(b_rows, weights, depth, columns, column);
    }
    __syncthreads();
    multiply_rows(a_rows, b_rows, bias + column, b_rows, depth);
    const int part = column / channels, first_class = column % channels;
    for (int i = lane; i < 16 * COLUMNS / 8; i += 32) {
      const int own = warp * 16 + i / (COLUMNS / 8), c = i % (COLUMNS / 8) * 8, row = first + own;
      if (row >= rows) continue;
      const Tile tile = find_tile(map, row / (qh * qw));
      const int y = scaling * (tile.y * qh + row / qw % qh) + part / 2;
      const int x_ = scaling * (tile.x * qw + row % qw) + part % 2;
      store_raw(out + ((long long)y * 2 * gw * qw + x_) * channels + first_class + c,
                load_raw(b_rows + own * STAGE_PITCH + c));
    }
  }
}

// The class of every pixel of the frame: logits enlarged bilinearly from the content, then the largest.
// Launch: one thread for `RUN` neighbouring pixels of a row; blockIdx.y = row.
constexpr int RUN = 4;

KERNEL frame_labels(const __half* logits,   // [canvas rows, pitch, columns]
                    unsigned char* labels,  // [height, width]
                    int height, int width, int content_h, int content_w, int pitch, int columns, int classes) {
  // Runs start at 4k + 2 (-2 first), so that at an enlargement by four all pixels of a run lie between two logits.
  const int first = (blockIdx.x * blockDim.x + threadIdx.x) * RUN - RUN / 2, y = blockIdx.y;
  if (first >= width) return;
  const float fy = fmaxf((y + 0.5f) * content_h / height - 0.5f, 0.f);
  const int y0 = min((int)fy, content_h - 1), y1 = min(y0 + 1, content_h - 1);
  const float wy = fy - y0;
  int x0[RUN], x1[RUN];
  float wx[RUN], most[RUN];
  int best[RUN];
  bool together = true;
#pragma unroll
  for (int i = 0; i < RUN; i++) {
    const int x = clamp(first + i, 0, width - 1);
    const float fx = fmaxf((x + 0.5f) * content_w / width - 0.5f, 0.f);
    x0[i] = min((int)fx, content_w - 1);
    x1[i] = min(x0[i] + 1, content_w - 1);
    wx[i] = fx - x0[i];
    most[i] = -3.0e38f;
    best[i] = 0;
    together = together && x0[i] == x0[0];
  }
  const __half* top = logits + (long long)y0 * pitch * columns;
  const __half* bottom = logits + (long long)y1 * pitch * columns;
  using Eight = Pack<__half, 8>;
  for (int c = 0; c < classes; c += 8) {
    float left[8], right[8];
#pragma unroll
    for (int i = 0; i < RUN; i++) {
      if (i == 0 || !together) {
        const Eight a = *reinterpret_cast<const Eight*>(top + (long long)x0[i] * columns + c);
        const Eight b = *reinterpret_cast<const Eight*>(top + (long long)x1[i] * columns + c);
        const Eight d = *reinterpret_cast<const Eight*>(bottom + (long long)x0[i] * columns + c);
        const Eight e = *reinterpret_cast<const Eight*>(bottom + (long long)x1[i] * columns + c);
#pragma unroll
        for (int k = 0; k < 8; k++) {
          left[k] = __half2float(a.v[k]) + wy * (__half2float(d.v[k]) - __half2float(a.v[k]));
          right[k] = __half2float(b.v[k]) + wy * (__half2float(e.v[k]) - __half2float(b.v[k]));
        }
      }
#pragma unroll
      for (int k = 0; k < 8; k++) {
        const float value = left[k] + wx[i] * (right[k] - left[k]);
        if (c + k < classes && value > most[i]) most[i] = value, best[i] = c + k;
      }
    }
  }
#pragma unroll
  for (int i = 0; i < RUN; i++)
    if (first + i >= 0 && first + i < width) labels[(long long)y * width + first + i] = (unsigned char)best[i];
}
