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
static_assert(TILE_M * SUM_PITCH * 4 <= STAGES * STAGE_BYTES, "the sums need the room of more stages");

#ifdef __CUDACC__
extern __shared__ __align__(1024) unsigned char conv_shared[];
#else
alignas(1024) static unsigned char conv_shared[256 * 1024];
#endif

// The mean row that holds the 2x2 pixels whose first row is `row`, among tiles of side q.
__device__ inline int mean_row(int row, int q) {
  if (q == 1) return row / 4;
  const int t = row / (q * q), y = row / q % q, x = row % q, half = q / 2;
  return (t / 4 * q + t / 2 % 2 * half + y / 2) * q + t % 2 * half + x / 2;
}

__device__ inline void meet() {  // of all threads of a cluster
#if SPLIT > 1 && defined(__CUDA_ARCH__)
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
#else
  __syncthreads();
#endif
}

// Four neighbouring sums of the tile, over all shares of K.
__device__ inline Pack<float, 4> total(const float* at) {
#if SPLIT > 1 && defined(__CUDA_ARCH__)
  Pack<float, 4> part[SPLIT];
#pragma unroll
  for (int s = 0; s < SPLIT; s++) {
    unsigned from;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(from) : "r"(shared_address(at)), "r"(s));
    asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(part[s].v[0]), "=f"(part[s].v[1]), "=f"(part[s].v[2]), "=f"(part[s].v[3])
                 : "r"(from));
  }
#pragma unroll
  for (int s = 1; s < SPLIT; s++)
#pragma unroll
    for (int i = 0; i < 4; i++) part[0].v[i] += part[s].v[i];
  return part[0];
#else
  return *reinterpret_cast<const Pack<float, 4>*>(at);
#endif
}

__device__ inline void store_four(__half* to, const float* x) {
  Pack<__half, 4> pack;
#pragma unroll
  for (int i = 0; i < 4; i++) pack.v[i] = __float2half_rn(x[i]);
  *reinterpret_cast<Pack<__half, 4>*>(to) = pack;
}

KERNEL CLUSTER __launch_bounds__(CONV_THREADS, MIN_BLOCKS) conv3x3(
    const __half* x,         // [T, s*q, s*q, Cin] (and mean rows); with `padded` [T, s*q+2, s*q+2, Cin]
    const __half* weights,   // [Cin/64 * 9 + Cskip/64, Cout, 64]
    const __half* bias,      // [Cout]
    const __half* other,     // [T, q, q, Cout] to be added, or null
    const __half* skip,      // [T, 2q, 2q, Cskip] that the 1x1 stride-2 shortcut reads, or null
    __half* out,             // [T, q, q, Cout], and n_high * q * q mean rows where `squares`
    __half* activated,       // [T, q, q, Cout] or null: relu(out * scale + shift)
    const float* scale,      // [Cout] or null
    const float* shift,      // [Cout] or null
    const int* near,         // [T, 8], see common.cuh
    int q, int stride, int cin, int cout, int cskip, int n_tiles,
    int n_high,
    int means,    // whether x has mean rows
    int padded,   // whether x is padded
    int squares,  // whether four rows finished together are 2x2 pixels
    int relu) {
  const int rank = blockIdx.x % SPLIT, m0 = blockIdx.x / SPLIT * TILE_M, n0 = blockIdx.y * TILE_N;
  const int side = stride * q, reach = stride * (q - 1) + 3;  // of a tile of x, and of what its pixels' taps see
  const int per_tile = q * q, first_tile = m0 / per_tile, in_tile = m0 - first_tile * per_tile;
  const int seen = (in_tile + TILE_M + per_tile - 1) / per_tile * reach * reach;
  int* sources = reinterpret_cast<int*>(conv_shared + STAGES * STAGE_BYTES);  // [tiles, reach, reach]
  const int piece = threadIdx.x % 8, line = threadIdx.x / 8;

  const int main_steps = TAPS * (cin / TILE_K), steps = main_steps + cskip / TILE_K;
  const int begin = steps * rank / SPLIT, end = steps * (rank + 1) / SPLIT;
  const auto load_weights = [&](int step) {
    unsigned char* to = conv_shared + (step - begin) % STAGES * STAGE_BYTES + TILE_M * ROW_BYTES;
    const __half* from = weights + ((long long)step * cout + n0) * TILE_K + threadIdx.x * 8;
#pragma unroll
    for (int i = 0; i < TILE_N / PASS; i++)
      copy_piece<false>(to + piece_at(line, piece) + i * PASS * ROW_BYTES, from + i * PASS * TILE_K, true);
  };
  // The first weights depend on nothing: they come while the sources are looked up.
  for (int i = 0; i < AHEAD && begin + i < end; i++) load_weights(begin + i);

  for (int i = threadIdx.x; i < seen; i += CONV_THREADS) {
    const int local = i / (reach * reach), at = i - local * reach * reach, t = first_tile + local;
    const int y = at / reach - 1, x_ = at % reach - 1;
    int code = -1;
    if (t < n_tiles) {
      if (padded) {
        code = (t * (side + 2) + y + 1) * (side + 2) + x_ + 1;
      } else {
        code = near_source(near, t, y, x_, side, side, ZEROS);
        if (code <= -2 && means) code = n_tiles * side * side + mean_row(-2 - code, side);
      }
    }
    sources[i] = code;
  }

  int first_source[TILE_M / PASS], skip_row[TILE_M / PASS];
#pragma unroll
  for (int i = 0; i < TILE_M / PASS; i++) {
    const int row = in_tile + line + i * PASS, local = row / per_tile, at = row - local * per_tile;
    const int y = at / q, x_ = at - y * q;
    first_source[i] = (local * reach + y * stride) * reach + x_ * stride;
    skip_row[i] = first_tile + local < n_tiles ? ((first_tile + local) * 2 * q + 2 * y) * 2 * q + 2 * x_ : -1;
  }
  int chunk = begin / TAPS, tap = begin - chunk * TAPS;  // of the step to be loaded next
  const auto load_rows = [&](int step) {
    unsigned char* to = conv_shared + (step - begin) % STAGES * STAGE_BYTES + piece_at(line, piece);
    const bool shortcut = step >= main_steps;
    const int channels = shortcut ? cskip : cin;
    const int channel = (shortcut ? step - main_steps : chunk) * TILE_K + piece * 8;
    const __half* from = shortcut ? skip : x;
    const int shift_by = tap / 3 * reach + tap % 3;
#pragma unroll
    for (int i = 0; i < TILE_M / PASS; i++) {
      const int code = shortcut ? skip_row[i] : sources[first_source[i] + shift_by];
      if (code >= -1)
        copy_piece<KEEP_IN_L1>(to + i * PASS * ROW_BYTES, from + (long long)max(code, 0) * channels + channel, code >= 0);
      else
        store_vec(reinterpret_cast<__half*>(to + i * PASS * ROW_BYTES), read_code(from, code, side, channels, channel));
    }
    if (++tap == TAPS) tap = 0, chunk++;
  };

  __syncthreads();
  for (int i = 0; i < AHEAD; i++) {
    if (begin + i < end) load_rows(begin + i);
    end_group();
  }
  Sums sums;
#pragma unroll
  for (int i = 0; i < FRAGMENTS_M; i++)
#pragma unroll
    for (int j = 0; j < FRAGMENTS_N; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) sums.v[i][j][e] = 0.f;
#pragma unroll 1
  for (int step = begin; step < end; step++) {
    const unsigned char* stage = conv_shared + (step - begin) % STAGES * STAGE_BYTES;
    wait_groups<AHEAD - 1>();
    __syncthreads();
    if (WGMMA) multiply(sums, stage, stage + TILE_M * ROW_BYTES);
    if (step + AHEAD < end) {
      load_weights(step + AHEAD);
      load_rows(step + AHEAD);
    }
    end_group();
    if (!WGMMA) multiply(sums, stage, stage + TILE_M * ROW_BYTES);
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
    if (squares && q > 1) {
      const int half = q / 2, pair = quad / half;  // pairs of pixel rows, through all tiles
      row = pair * 2 * q + 2 * (quad - pair * half);
      below = q;
    }
    if (row >= total_rows) continue;
    const auto shifts = *reinterpret_cast<const Pack<__half, 4>*>(bias + n0 + c);
    float mean[4] = {0.f, 0.f, 0.f, 0.f};
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int at = row + (i >> 1) * below + (i & 1);
      if (at >= total_rows) break;
      const long long to = (long long)at * cout + n0 + c;
      Pack<float, 4> value = total(tile_sums + (at - m0) * SUM_PITCH + c);
      Pack<__half, 4> added{};
      if (other) added = *reinterpret_cast<const Pack<__half, 4>*>(other + to);
#pragma unroll
      for (int k = 0; k < 4; k++) {
        value.v[k] += to_float(shifts.v[k]);
        if (other) value.v[k] += to_float(added.v[k]);
        if (relu) value.v[k] = fmaxf(value.v[k], 0.f);
        value.v[k] = to_float(__float2half_rn(value.v[k]));  // what is read later is the rounded value
        mean[k] += 0.25f * value.v[k];
      }
      store_four(out + to, value.v);
      if (activated) {
        const auto gain = *reinterpret_cast<const Pack<float, 4>*>(scale + n0 + c);
        const auto offset = *reinterpret_cast<const Pack<float, 4>*>(shift + n0 + c);
#pragma unroll
        for (int k = 0; k < 4; k++) value.v[k] = fmaxf(value.v[k] * gain.v[k] + offset.v[k], 0.f);
        store_four(activated + to, value.v);
      }
    }
    if (squares && row < 4 * n_high * per_tile)
      store_four(out + ((long long)total_rows + mean_row(row, q)) * cout + n0 + c, mean);
  }
  meet();  // before leaving: others may still read this block's sums
}
