// A 3x3 convolution on tiles with BlockPad in its loader, for the levels of small tiles: bias, addition, ReLU.
//
// An implicit matrix product: M = pixels of all tiles, N = output channels, K = (64 channels, tap), taps innermost so
// that a pixel read for one tap is still in the L1 cache for the next. Which row of x each tap of a pixel reads is
// worked out once per block of threads, for the tiles it covers with their halo. Further steps of K may follow for the
// 1x1 stride-2 shortcut of a residual block.
//
// The mean of 2x2 pixels, which low tiles see of high neighbours, is a row of its own, "mean row", behind the T*q*q rows
// of a tensor that this kernel wrote: row ((block * q) + y) * q + x for pixel (y, x) of the high block seen as a low
// one. Of other tensors the loader takes the mean itself.
//
// Launch: blockIdx.x = tile of M * SPLIT + share of K, blockIdx.y = tile of N. The SPLIT blocks of a tile are a cluster,
// which adds its sums through distributed shared memory, always in the same order.
#include "tensor.cuh"

#ifndef SPLIT
#define SPLIT 1
#endif
#ifndef KEEP_IN_L1
#define KEEP_IN_L1 true
#endif
#ifndef MIN_BLOCKS
#define MIN_BLOCKS 1
#endif
#if SPLIT > 1
#define CLUSTER __cluster_dims__(SPLIT, 1, 1)
#else
#define CLUSTER
#endif

constexpr int TAPS = 9;
constexpr int CONV_THREADS = 32 * WARPS;
constexpr int PASS = CONV_THREADS / 8;  // rows of a tile copied at once, 8 threads each
constexpr int SUM_PITCH = TILE_N + 8;   // floats; the padding keeps banks apart
static_assert(TILE_M % PASS == 0 && TILE_N % PASS == 0, "the threads copy whole passes");
constexpr int SUM_BYTES = TILE_M * SUM_PITCH * 4;
constexpr int ROOM = STAGES * STAGE_BYTES > SUM_BYTES ? STAGES * STAGE_BYTES : SUM_BYTES;  // of stages, then of sums

#ifdef __CUDACC__
extern __shared__ __align__(1024) unsigned char conv_shared[];
#else
alignas(1024) static unsigned char conv_shared[256 * 1024];
#endif

// The mean row that holds the 2x2 pixels whose first row is `row`, among tiles of side 2^bits.
__device__ inline int mean_row(int row, int bits) {
  if (!bits) return row >> 2;
  const int t = row >> 2 * bits, mask = (1 << bits) - 1, y = row >> bits & mask, x = row & mask, half = 1 << (bits - 1);
  return (((t >> 2 << bits) + (t >> 1 & 1) * half + (y >> 1)) << bits) + (t & 1) * half + (x >> 1);
}

// x / d for numbers below a million, where `inverse` is 1 / d: a quarter of a division's instructions.
__device__ inline int divide(int x, float inverse) { return (int)(((float)x + 0.5f) * inverse); }

__device__ inline void meet() {  // of all threads of a cluster
#if SPLIT > 1 && defined(__CUDA_ARCH__)
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
#else
  __syncthreads();
#endif
}

// Adds four neighbouring sums of the tile at share `s` of K.
__device__ inline void add_share(float (&sum)[4], const float* at, int s) {
  Pack<float, 4> part;
#if SPLIT > 1 && defined(__CUDA_ARCH__)
  unsigned from;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(from) : "r"(shared_address(at)), "r"(s));
  asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(part.v[0]), "=f"(part.v[1]), "=f"(part.v[2]), "=f"(part.v[3])
               : "r"(from));
#else
  part = *reinterpret_cast<const Pack<float, 4>*>(at);
#endif
#pragma unroll
  for (int i = 0; i < 4; i++) sum[i] += part.v[i];
}

__device__ inline void store_four(__half* to, const float* x) {
  Pack<__half, 4> pack;
#pragma unroll
  for (int i = 0; i < 4; i++) pack.v[i] = __float2half_rn(x[i]);
  *reinterpret_cast<Pack<__half, 4>*>(to) = pack;
}

KERNEL CLUSTER __launch_bounds__(CONV_THREADS, MIN_BLOCKS) conv3x3(
    const __half* x,         // [T, s*q, s*q, Cin] (and mean rows); with `padded` [T, s*q+2, s*q+2, Cin]
    const __half* weights,   // [Cin/64 * 9 + Cskip/64, Cout, 64], pieces permuted as in a stage
    const __half* bias,      // [Cout]
    const __half* other,     // [T, q, q, Cout] to be added, or null
    const __half* skip,      // [T, 2q, 2q, Cskip] that the 1x1 stride-2 shortcut reads, or null
    __half* out,             // [T, q, q, Cout], and n_high * q * q mean rows where bits >= 0
    __half* activated,       // [T, q, q, Cout] or null: relu(out * scale + shift)
    const float* scale,      // [Cout] or null
    const float* shift,      // [Cout] or null
    const int* near,         // [T, 8], see common.cuh
    int q, int stride, int cin, int cout, int cskip, int n_tiles,
    int n_high,
    int means,    // whether x has mean rows
    int padded,   // whether x is padded
    int bits,     // 2^bits is q, and four rows finished together are 2x2 pixels; -1 where that cannot be
    int relu) {
  const int rank = blockIdx.x % SPLIT, m0 = blockIdx.x / SPLIT * TILE_M, n0 = blockIdx.y * TILE_N;
  const int side = stride * q, reach = stride * (q - 1) + 3;  // of a tile of x, and of what its pixels' taps see
  const int per_tile = q * q, first_tile = m0 / per_tile, in_tile = m0 - first_tile * per_tile;
  const int seen = (in_tile + TILE_M + per_tile - 1) / per_tile * reach * reach;
  auto* barriers = reinterpret_cast<unsigned long long*>(conv_shared + ROOM);
  int* sources = reinterpret_cast<int*>(barriers + STAGES);  // [tiles, reach, reach]
  const int piece = threadIdx.x % 8, line = threadIdx.x / 8;

  const int main_steps = TAPS * (cin / TILE_K), steps = main_steps + cskip / TILE_K;
  const int begin = steps * rank / SPLIT, end = steps * (rank + 1) / SPLIT;
  const __half* next_weights = weights + ((long long)begin * cout + n0) * TILE_K;
  const auto load_weights = [&](int slot) {
    unsigned char* to = conv_shared + slot * STAGE_BYTES + TILE_M * ROW_BYTES;
    if (!BULK) {
#pragma unroll
      for (int i = threadIdx.x; i < TILE_N * 8; i += CONV_THREADS) copy_piece<false>(to + i * 16, next_weights + i * 8, true);
    } else if (threadIdx.x == 0) {
      copy_bulk(to, next_weights, TILE_N * ROW_BYTES, barriers + slot);
    }
    next_weights += (long long)cout * TILE_K;
  };
  if (threadIdx.x == 0)
    for (int i = 0; i < STAGES; i++) start_barrier(barriers + i);
  // The first weights depend on no other kernel: they come while the sources are looked up.
  for (int i = 0; i < AHEAD && begin + i < end; i++) load_weights(i);

  const float per_reach = 1.f / reach, per_seen = per_reach * per_reach, per_side = 1.f / q, per_area = 1.f / per_tile;
  for (int i = threadIdx.x; i < seen; i += CONV_THREADS) {
    const int local = divide(i, per_seen), at = i - local * reach * reach, t = first_tile + local;
    const int row = divide(at, per_reach), y = row - 1, x_ = at - row * reach - 1;
    int code = -1;
    if (t < n_tiles) {
      if (padded) {
        code = (t * (side + 2) + y + 1) * (side + 2) + x_ + 1;
      } else {
        code = near_source(near, t, y, x_, side, side, ZEROS);
        if (code <= -2 && means) code = n_tiles * side * side + mean_row(-2 - code, bits + stride - 1);
      }
    }
    sources[i] = code;
  }

  int first_source[TILE_M / PASS], skip_row[TILE_M / PASS];
#pragma unroll
  for (int i = 0; i < TILE_M / PASS; i++) {
    const int row = in_tile + line + i * PASS, local = divide(row, per_area), at = row - local * per_tile;
    const int y = divide(at, per_side), x_ = at - y * q;
    first_source[i] = (local * reach + y * stride) * reach + x_ * stride;
    skip_row[i] = first_tile + local < n_tiles ? ((first_tile + local) * 2 * q + 2 * y) * 2 * q + 2 * x_ : -1;
  }
  int chunk = begin / TAPS, tap = begin - chunk * TAPS;  // of the step to be loaded next
  const bool averages = !means && !padded;  // of 2x2 pixels may have to be taken here
  const auto load_rows = [&](int step, unsigned char* stage) {
    unsigned char* to = stage + piece_at(line, piece);
    const bool shortcut = step >= main_steps;
    const int channels = shortcut ? cskip : cin;
    const __half* from = (shortcut ? skip : x) + (shortcut ? step - main_steps : chunk) * TILE_K + piece * 8;
    const int* source = sources + tap / 3 * reach + tap % 3;
    int codes[TILE_M / PASS];
#pragma unroll
    for (int i = 0; i < TILE_M / PASS; i++) codes[i] = shortcut ? skip_row[i] : source[first_source[i]];
    if (!averages) {
#pragma unroll
      for (int i = 0; i < TILE_M / PASS; i++)
        copy_piece<KEEP_IN_L1>(to + i * PASS * ROW_BYTES, from + (unsigned)max(codes[i], 0) * (unsigned)channels,
                                 codes[i] >= 0);
    } else {
#pragma unroll
      for (int i = 0; i < TILE_M / PASS; i++)
        if (codes[i] >= -1)
          copy_piece<KEEP_IN_L1>(to + i * PASS * ROW_BYTES, from + (unsigned)max(codes[i], 0) * (unsigned)channels,
                                 codes[i] >= 0);
#pragma unroll
      for (int i = 0; i < TILE_M / PASS; i++)
        if (codes[i] < -1)
          *reinterpret_cast<Raw*>(to + i * PASS * ROW_BYTES) = to_raw(read_code(from, codes[i], side, channels, 0));
    }
    if (++tap == TAPS) tap = 0, chunk++;
  };

  __syncthreads();
  after_previous();
  for (int i = 0; i < AHEAD; i++) {
    if (begin + i < end) load_rows(begin + i, conv_shared + i * STAGE_BYTES);
    end_group();
  }
  Sums sums;  // every share has a step: there are 9 at least
#pragma unroll 1
  for (int step = begin; step < end; step++) {
    const int turn = (step - begin) / STAGES, slot = (step - begin) % STAGES;
    const unsigned char* stage = conv_shared + slot * STAGE_BYTES;
    wait_groups<AHEAD - 1>();
    if (BULK) wait_bulk(barriers + slot, turn);
    __syncthreads();
    if (WGMMA) multiply(sums, stage, stage + TILE_M * ROW_BYTES, step > begin);
    if (step + AHEAD < end) {
      const int next = (step + AHEAD - begin) % STAGES;
      load_weights(next);
      load_rows(step + AHEAD, conv_shared + next * STAGE_BYTES);
    }
    end_group();
    if (!WGMMA) multiply(sums, stage, stage + TILE_M * ROW_BYTES, step > begin);
    wait_products<PENDING>();
  }
  wait_products<0>();
  wait_groups<0>();
  __syncthreads();

  float* tile_sums = reinterpret_cast<float*>(conv_shared);  // [TILE_M, SUM_PITCH]
#pragma unroll
  for (int i = 0; i < FRAGMENTS_M; i++)
#pragma unroll
    for (int j = 0; j < FRAGMENTS_N; j++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        float* to = tile_sums + (fragment_row(i) + 8 * half) * SUM_PITCH + fragment_column(j);
        *reinterpret_cast<Pack<float, 2>*>(to) = {sums.v[i][j][2 * half], sums.v[i][j][2 * half + 1]};
      }
  meet();
  // Each block of the cluster finishes its share: four rows (2x2 pixels) and four channels a thread.
  constexpr int QUADS = TILE_M / 4, COLUMNS = TILE_N / 4;
  const int first_quad = QUADS * rank / SPLIT, quads = QUADS * (rank + 1) / SPLIT - first_quad;
  const int total_rows = n_tiles * per_tile;
  for (int item = threadIdx.x; item < quads * COLUMNS; item += CONV_THREADS) {
    const int quad = m0 / 4 + first_quad + item / COLUMNS, c = item % COLUMNS * 4;
    int row = 4 * quad, below = 2;  // below: from the first pair of rows to the second
    if (bits > 0) {
      const int pair = quad >> (bits - 1);  // of pixel rows, through all tiles
      row = (pair << bits) + 2 * quad;
      below = q;
    }
    if (row >= total_rows) continue;
    const int step_down = below - 2;  // rows i of the four: row + i, and this after the first two
    const float* from = tile_sums + (row - m0) * SUM_PITCH + c;
    float sum[4][4] = {};
#pragma unroll
    for (int s = 0; s < SPLIT; s++)
#pragma unroll
      for (int i = 0; i < 4; i++) add_share(sum[i], from + (i + i / 2 * step_down) * SUM_PITCH, s);
    const auto shifts = *reinterpret_cast<const Pack<__half, 4>*>(bias + n0 + c);
    float mean[4] = {};
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int at = row + i + i / 2 * step_down;
      if (at >= total_rows) continue;
      const long long to = (long long)at * cout + n0 + c;
      float(&value)[4] = sum[i];
      Pack<__half, 4> added{};
      if (other) added = *reinterpret_cast<const Pack<__half, 4>*>(other + to);
#pragma unroll
      for (int k = 0; k < 4; k++) {
        value[k] += to_float(shifts.v[k]);
        if (other) value[k] += to_float(added.v[k]);
        if (relu) value[k] = fmaxf(value[k], 0.f);
        value[k] = to_float(__float2half_rn(value[k]));  // what is read later is the rounded value
        mean[k] += 0.25f * value[k];
      }
      store_four(out + to, value);
      if (activated) {
        const auto gain = *reinterpret_cast<const Pack<float, 4>*>(scale + n0 + c);
        const auto offset = *reinterpret_cast<const Pack<float, 4>*>(shift + n0 + c);
#pragma unroll
        for (int k = 0; k < 4; k++) value[k] = fmaxf(value[k] * gain.v[k] + offset.v[k], 0.f);
        store_four(activated + to, value);
      }
    }
    if (bits >= 0 && row < 4 * n_high * per_tile)
      store_four(out + ((long long)total_rows + mean_row(row, bits)) * cout + n0 + c, mean);
  }
  meet();  // before leaving: others may still read this block's sums
}
