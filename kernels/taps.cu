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

constexpr int PIECES = 4;  // of VEC channels that a thread has under way

// The first `tap_blocks` blocks of threads make `taps`, the others `activated`.
KERNEL __launch_bounds__(256) gather_taps(
    const scalar* __restrict__ x,      // [T, qh, qw, C]
    const scalar* __restrict__ added,  // [T, qh*step, qw*step, R] or null
    scalar* __restrict__ taps,         // [T, qh/stride, qw/stride, 9*C + R]; with R > 0 the stride is 1
    scalar* __restrict__ activated,    // [T, qh, qw, C] or null: relu(x * scale + shift), for a 1x1 layer
    const float* __restrict__ scale,   // [C] or null
    const float* __restrict__ shift,   // [C] or null
    const int* __restrict__ near,      // [T, 8]
    int n_tiles, int tap_blocks, int qh, int qw, int channels, int stride, int extra, int step) {
  FIX_TILE;
  FIX_TAPS;
  const int groups = channels / VEC, block = blockIdx.x;
  if (block >= tap_blocks) {
    const int count = n_tiles * qh * qw * groups, first = (block - tap_blocks) * PIECES * blockDim.x + threadIdx.x;
    after_previous();
    Raw value[PIECES];
#pragma unroll
    for (int j = 0; j < PIECES; j++) {
      const int item = first + j * blockDim.x;
      if (item < count) value[j] = load_raw(x + (long long)item * VEC);
    }
#pragma unroll
    for (int j = 0; j < PIECES; j++) {
      const int item = first + j * blockDim.x, c = item % groups * VEC;
      if (item < count)
        store_vec(activated + (long long)item * VEC, norm_relu(to_vec(value[j]), load_floats(scale + c), load_floats(shift + c)));
    }
    return;
  }
  const int oh = qh / stride, ow = qw / stride, per_row = 9 * groups + extra / VEC, count = n_tiles * oh * ow * per_row;
  const int first = block * PIECES * blockDim.x + threadIdx.x;
  int codes[PIECES];  // of rows of x, or rows of `added`
  bool of_x[PIECES];
#pragma unroll
  for (int j = 0; j < PIECES; j++) {
    const int item = first + j * blockDim.x, row = item / per_row, tap = item % per_row / groups;
    const int t = row / (oh * ow), y = row / ow % oh, x_ = row % ow;
    of_x[j] = tap < 9;
    codes[j] = 0;
    if (item >= count) continue;
    codes[j] = of_x[j] ? near_source(near, t, y * stride + tap / 3 - 1, x_ * stride + tap % 3 - 1, qh, qw, ZEROS)
                       : ((t * oh + y) * step * ow + x_) * step;
  }
  after_previous();
  Raw value[PIECES];
#pragma unroll
  for (int j = 0; j < PIECES; j++) {
    const int item = first + j * blockDim.x, piece = item % per_row;
    if (item >= count || codes[j] < 0) continue;
    value[j] = load_raw(of_x[j] ? x + (long long)codes[j] * channels + piece % groups * VEC
                                : added + (long long)codes[j] * extra + (piece - 9 * groups) * VEC);
  }
#pragma unroll
  for (int j = 0; j < PIECES; j++)
    if (codes[j] < 0) value[j] = read_other(x, codes[j], qw, channels, (first + j * blockDim.x) % per_row % groups * VEC);
#pragma unroll
  for (int j = 0; j < PIECES; j++) {
    const long long item = first + j * blockDim.x;
    if (item < count) store_raw(taps + item * VEC, value[j]);
  }
}
