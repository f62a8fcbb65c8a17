// A 3x3 layer of 64 channels on tiles, with BlockPad in its loader: relu(conv(x) + bias + added); and, for a 1x1 layer,
// relu(norm) of that.
//
// A warp group (four warps) makes 8x8 outputs at a time. Their patch stands in shared memory by eights of channels,
// [C / 8, 10 * 10 pixels, 8], so that the A matrix of a tap is the patch moved by as many pixels: its pieces are eight
// neighbouring pixels, 16 bytes apart. All weights stay in shared memory, [9 * C / 8, 64, 8]. Two blocks of threads
// run on a multiprocessor.
#include "common.cuh"
#include "wgmma.cuh"

constexpr int CHANNELS = 64;
constexpr int SIDE = 8, PATCH = SIDE + 2;  // of the outputs and of the pixels they see
constexpr int PLANE = PATCH * PATCH + 1;   // pixels between two eights of channels; the odd one keeps banks apart
constexpr int GROUPS = 2, THREADS = 128 * GROUPS;
constexpr int STAGE_PITCH = CHANNELS + 8;  // halves of an output pixel in shared memory
constexpr int WEIGHT_HALVES = 9 * CHANNELS * CHANNELS, PATCH_HALVES = CHANNELS * PLANE;
constexpr int INNER = SIDE * SIDE / 16, RING = (PATCH * PATCH - SIDE * SIDE + 15) / 16;  // pieces that a thread loads

// Weights and a patch for each warp group: 99584 bytes, see CONV_SHARED in segstream/engines/cuda_convs.py.
#ifdef __CUDACC__
extern __shared__ __align__(128) __half conv_shared[];
#else
alignas(128) static __half conv_shared[WEIGHT_HALVES + GROUPS * PATCH_HALVES];
#endif

struct Sums {
  float v[32];  // [64 pixels, 64 channels], see wgmma.cuh
};

// Starts the sums of 64 pixels, at the bias; they are there after finish_product.
__device__ inline void start_product(Sums& sums, const __half* patch, const __half* weight_rows, const __half* bias) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int j = 0; j < 8; j++) {
    const float2 shift = __half22float2(*reinterpret_cast<const __half2*>(bias + 8 * j + lane % 4 * 2));
#pragma unroll
    for (int i = 0; i < 4; i++) sums.v[4 * j + i] = i & 1 ? shift.y : shift.x;
  }
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#pragma unroll
  for (int i = 0; i < 32; i++) asm volatile("" : "+f"(sums.v[i])::"memory");  // not to be set later
  const unsigned long long pixels = operand(patch, PLANE * 16, PATCH * 16), columns = operand(weight_rows, CHANNELS * 16, 128);
  begin_products();
#pragma unroll
  for (int k = 0; k < 9 * CHANNELS / 16; k++) {
    const int tap = k / 4, plane = k % 4 * 2;
    add_product(sums.v, pixels + plane * PLANE + tap / 3 * PATCH + tap % 3, columns + k * 2 * CHANNELS);  // 16 bytes each
  }
  commit_products();
#else
  // One thread after the other, for checking where there is no Hopper.
  const int warp = threadIdx.x / 32 % 4;
  for (int k = 0; k < 9 * CHANNELS; k++) {
    const int tap = k / CHANNELS, c = k % CHANNELS, x = lane / 4 + tap % 3;
    float pixels[2], weights[16];
    for (int h = 0; h < 2; h++) {
      const int y = 2 * warp + h + tap / 3;
      pixels[h] = __half2float(patch[(c / 8 * PLANE + y * PATCH + x) * 8 + c % 8]);
    }
    for (int n = 0; n < 16; n++)
      weights[n] = __half2float(weight_rows[(k / 8 * CHANNELS + n / 2 * 8 + lane % 4 * 2 + n % 2) * 8 + k % 8]);
    for (int n = 0; n < 32; n++) sums.v[n] += pixels[n / 2 % 2] * weights[n / 4 * 2 + n % 2];
  }
#endif
}

__device__ inline void finish_product(Sums& sums) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  await_products();
#pragma unroll
  for (int i = 0; i < 32; i++) asm volatile("" : "+f"(sums.v[i])::"memory");  // not to be read earlier
#endif
}

// The threads of a warp group wait for each other.
__device__ inline void group_barrier() {
#ifdef __CUDACC__
  asm volatile("bar.sync %0, 128;" ::"r"((int)threadIdx.x / 128 + 1) : "memory");  // a branch would hold up wgmma
#else
  __syncthreads();
#endif
}

// Launch: 256 threads; warp groups take the 8x8 outputs of all tiles in turn.
KERNEL __launch_bounds__(THREADS, 2) tile_conv(
    const __half* __restrict__ x,        // [T, qh, qw, 64]
    const __half* added,                 // [T, qh, qw, 64] or null
    __half* out,                         // [T, qh, qw, 64], which may be `added`
    __half* __restrict__ activated,      // [T, qh, qw, 64] or null: relu(out * scale + shift)
    const __half* __restrict__ weights,  // [72, 64, 8]: (tap, channel / 8), output, channel % 8
    const __half* __restrict__ bias,     // [64]
    const float* __restrict__ scale,     // [64] or null
    const float* __restrict__ shift,     // [64] or null
    const int* __restrict__ near,        // [T, 8]
    int n_tiles, int qh, int qw) {
#ifdef FIXED_QH
  qh = FIXED_QH, qw = FIXED_QW;
#endif
  const int group = threadIdx.x / 128, own = threadIdx.x % 128, c = own % 8 * 8;
  __half* weight_rows = conv_shared;
  __half* patch = weight_rows + WEIGHT_HALVES + group * PATCH_HALVES;
  const int across = qw / SIDE, per_tile = qh / SIDE * across, units = n_tiles * per_tile;
  // The next patch, loaded while this one's product is taken. Pixels that are outputs too need no looking up.
  Raw inner[INNER], ring[RING];
  int codes[RING];
  const auto ring_place = [&](int j) { return ring_pixel(min(own / 8 + 16 * j, 4 * SIDE + 3), SIDE, SIDE); };
  const auto locate = [&](int unit) {
    const int t = unit / per_tile, top = unit % per_tile / across * SIDE, left = unit % across * SIDE;
#pragma unroll
    for (int j = 0; j < RING; j++) {
      const Pixel at = ring_place(j);
      codes[j] = near_source(near, t, top + at.y, left + at.x, qh, qw, ZEROS);
    }
  };
  const auto load_inner = [&](int unit) {
    const int t = unit / per_tile, top = unit % per_tile / across * SIDE, left = unit % across * SIDE;
#pragma unroll
    for (int j = 0; j < INNER; j++)
      inner[j] = load_raw(x + row_at(t, top + 2 * j + own / 64, left + own / 8 % 8, qh, qw) * CHANNELS + c);
  };
  const auto keep_at = [&](int y, int x_, const Raw& value) {
    *reinterpret_cast<RawWord*>(patch + (own % 8 * PLANE + (y + 1) * PATCH + x_ + 1) * 8) =
        reinterpret_cast<const RawWord&>(value);
  };
  const auto keep_patch = [&] {
#pragma unroll
    for (int j = 0; j < INNER; j++) keep_at(2 * j + own / 64, own / 8 % 8, inner[j]);
#pragma unroll
    for (int j = 0; j < RING; j++)
      if (own / 8 + 16 * j < 4 * SIDE + 4) keep_at(ring_place(j).y, ring_place(j).x, ring[j]);
    show_to_products();
  };
  int unit = blockIdx.x + group * gridDim.x;
  const int step = GROUPS * gridDim.x;
#pragma unroll
  for (int i = 0; i < WEIGHT_HALVES / 8 / THREADS; i++) {
    const int at = (i * THREADS + threadIdx.x) * 8;
    *reinterpret_cast<RawWord*>(weight_rows + at) = *reinterpret_cast<const RawWord*>(weights + at);
  }
  if (unit < units) locate(unit);
  after_previous();
  if (unit < units) {
    load_inner(unit);
    read_codes(ring, codes, x, qw, CHANNELS, c);
  }
  keep_patch();
  __syncthreads();
  for (; unit < units; unit += step) {
    const int next = unit + step, t = unit / per_tile, top = unit % per_tile / across * SIDE, left = unit % across * SIDE;
    Sums sums;
    start_product(sums, patch, weight_rows, bias);
    if (next < units) {
      load_inner(next);
      locate(next);
      read_plain(ring, codes, x, CHANNELS, c);
    }
    // A warp has two rows of outputs, a thread four pieces of them.
    const auto pixel = [&](int i) { return own / 32 * 16 + i * 4 + own % 32 / 8; };
    const auto row = [&](int i) { return ((long long)t * qh + top + pixel(i) / SIDE) * qw + left + pixel(i) % SIDE; };
    Raw other[4];
    if (added) {
#pragma unroll
      for (int i = 0; i < 4; i++) other[i] = load_raw(added + row(i) * CHANNELS + c);
    }
    finish_product(sums);
    group_barrier();
    if (next < units) read_others(ring, codes, x, qw, CHANNELS, c);
    const int lane = own % 32;
#pragma unroll
    for (int j = 0; j < 8; j++)
#pragma unroll
      for (int h = 0; h < 2; h++)
        *reinterpret_cast<__half2*>(patch + (own / 32 * 16 + h * 8 + lane / 4) * STAGE_PITCH + 8 * j + lane % 4 * 2) =
            __float22half2_rn(float2{sums.v[4 * j + 2 * h], sums.v[4 * j + 2 * h + 1]});
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 4; i++) {
      Vec value = load_vec(patch + pixel(i) * STAGE_PITCH + c);
      if (added) add_scaled(value, to_vec(other[i]), 1.f);
#pragma unroll
      for (int k = 0; k < VEC; k++) value.v[k] = fmaxf(value.v[k], 0.f);
      store_vec(out + row(i) * CHANNELS + c, value);
      if (activated)
        store_vec(activated + row(i) * CHANNELS + c, norm_relu(value, load_floats(scale + c), load_floats(shift + c)));
    }
    if (next >= units) break;
    group_barrier();
    keep_patch();
    group_barrier();
  }
}
