// The operand of a 3x3 layer as a plain matrix, for layers of few pixels, where a matrix product beats a convolution.
//
// A row stands for an output pixel: its nine taps, found as BlockPad does (zeros beyond the image), then the channels of
// the pixel that is added to its result; the weights have a 1x1 layer, or the identity, for these.
#include "common.cuh"

#ifdef FIXED_S
#define FIX_TAPS stride = FIXED_S, extra = FIXED_R, step = FIXED_A
#else
#define FIX_TAPS (void)0
#endif

constexpr int COPIES = 2;  // pieces of VEC channels that a thread has under way

// Every pixel is read once and written as a tap of up to nine others. The first `halo_blocks` blocks of threads take the
// halo, the others the pixels of the tiles.
KERNEL __launch_bounds__(256) scatter_taps(
    const scalar* __restrict__ x,      // [T, qh, qw, C]
    const scalar* __restrict__ added,  // [T, qh*step, qw*step, R] or null; with it the stride is 1
    scalar* __restrict__ taps,         // [T, qh/stride, qw/stride, 9*C + R]
    scalar* __restrict__ activated,    // [T, qh, qw, C] or null: relu(x * scale + shift), for a 1x1 layer
    const float* __restrict__ scale,   // [C] or null
    const float* __restrict__ shift,   // [C] or null
    const int* __restrict__ near,      // [T, 8]
    int n_tiles, int halo_blocks, int qh, int qw, int channels, int stride, int extra, int step) {
  FIX_TILE;
  FIX_TAPS;
  const int groups = channels / VEC, oh = qh / stride, ow = qw / stride, width = 9 * channels + extra;
  const bool halo = (int)blockIdx.x < halo_blocks;
  const int ring = ring_size(qh, qw), per_tile = halo ? ring : qh * qw, count = n_tiles * per_tile * groups;
  const int first = (halo ? blockIdx.x : blockIdx.x - halo_blocks) * COPIES * blockDim.x + threadIdx.x;
  int codes[COPIES];
  Pixel at[COPIES];
#pragma unroll
  for (int j = 0; j < COPIES; j++) {
    const int item = first + j * blockDim.x, t = item / groups / per_tile, i = item / groups % per_tile;
    codes[j] = 0;
    if (item >= count) continue;
    at[j] = halo ? ring_pixel(i, qh, qw) : Pixel{i / qw, i % qw};
    codes[j] = halo ? near_source(near, t, at[j].y, at[j].x, qh, qw, ZEROS) : (int)row_at(t, at[j].y, at[j].x, qh, qw);
  }
  after_previous();
  Raw value[COPIES], other[COPIES];
#pragma unroll
  for (int j = 0; j < COPIES; j++) {
    const int item = first + j * blockDim.x, c = item % groups * VEC;
    if (item < count && codes[j] >= 0) value[j] = load_raw(x + (long long)codes[j] * channels + c);
  }
  const auto load_added = [&](int j, int c) {
    const int t = (first + j * blockDim.x) / groups / per_tile;
    return load_raw(added + row_at(t, at[j].y * step, at[j].x * step, qh * step, qw * step) * extra + c);
  };
#pragma unroll
  for (int j = 0; j < COPIES; j++) {
    const int item = first + j * blockDim.x, c = item % groups * VEC;
    if (!halo && item < count && c < extra) other[j] = load_added(j, c);
  }
#pragma unroll
  for (int j = 0; j < COPIES; j++) {
    const int item = first + j * blockDim.x, c = item % groups * VEC, t = item / groups / per_tile;
    if (item >= count) continue;
    if (codes[j] < 0) value[j] = read_other(x, codes[j], qw, channels, c);
#pragma unroll
    for (int tap = 0; tap < 9; tap++) {
      const int y = at[j].y + 1 - tap / 3, x_ = at[j].x + 1 - tap % 3;  // of the output, times the stride
      if (y < 0 || x_ < 0 || y >= qh || x_ >= qw || y % stride || x_ % stride) continue;
      store_raw(taps + row_at(t, y / stride, x_ / stride, oh, ow) * width + tap * channels + c, value[j]);
    }
    if (halo) continue;
    scalar* const end = taps + row_at(t, at[j].y, at[j].x, qh, qw) * width + 9 * channels;
    if (c < extra) store_raw(end + c, other[j]);
    for (int more = c + channels; more < extra; more += channels) store_raw(end + more, load_added(j, more));
    if (activated)
      store_vec(activated + (long long)item * VEC,
                norm_relu(to_vec(value[j]), load_floats(scale + c), load_floats(shift + c)));
  }
}
