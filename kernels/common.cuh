// What every kernel shares: scalars and vectors, the map of blocks and tiles, and where BlockPad finds a pixel.
//
// A file is compiled once per SCALAR (float, __half, __nv_bfloat16) and VEC (channels one thread moves at once).
// All tensors of features are rows [pixels, C], that is [T, q, q, C] or [N, H, W, C] with C contiguous.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#ifndef SCALAR
#define SCALAR __half
#endif
#ifndef VEC
#define VEC 8
#endif
#define KERNEL extern "C" __global__ void

// The engine compiles a variant per level, so that divisions by the sides of tiles become shifts.
#ifdef FIXED_QH
#define FIX_TILE qh = FIXED_QH, qw = FIXED_QW, channels = FIXED_C
#define FIX_PADDING p = FIXED_P
#else
#define FIX_TILE (void)0
#define FIX_PADDING (void)0
#endif
#ifdef FIXED_EDGE
#define FIX_EDGE edge = FIXED_EDGE  // and what else the enlarging kernels take
#else
#define FIX_EDGE (void)0
#endif
#ifdef FIXED_GH
#define FIX_SIDES gh = FIXED_GH, gw = FIXED_GW, qh = FIXED_QH, qw = FIXED_QW, channels = FIXED_C
#else
#define FIX_SIDES (void)0
#endif

using scalar = SCALAR;

// Where a kernel is launched to start while the one before it ends (sm_90 and later), it waits here for that one, and lets
// the next come up in turn; elsewhere this does nothing. Before it a kernel may read weights and the tables of tiles, which
// are at least two kernels old, and nothing else.
__device__ inline void after_previous() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__half x) { return __half2float(x); }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline void from_float(float x, float& out) { out = x; }
__device__ inline void from_float(float x, __half& out) { out = __float2half_rn(x); }
__device__ inline void from_float(float x, __nv_bfloat16& out) { out = __float2bfloat16_rn(x); }

template <typename T, int N>
struct alignas(sizeof(T) * N) Pack {
  T v[N];
};

// VEC neighbouring channels as floats.
struct Vec {
  float v[VEC];
};

__device__ inline Vec zero_vec() {
  Vec out;
#pragma unroll
  for (int i = 0; i < VEC; i++) out.v[i] = 0.f;
  return out;
}

// A pack is stored as one word of its size by an intrinsic: left to itself the compiler makes narrow stores of some.
template <int BYTES>
struct Word;
template <>
struct Word<16> {
  using type = int4;
};
template <>
struct Word<8> {
  using type = int2;
};
template <>
struct Word<4> {
  using type = int;
};
template <>
struct Word<2> {
  using type = short;
};

using Raw = Pack<scalar, VEC>;
using RawWord = Word<sizeof(Raw)>::type;

__device__ inline Raw load_raw(const scalar* from) {
  const RawWord word = *reinterpret_cast<const RawWord*>(from);
  return reinterpret_cast<const Raw&>(word);
}

__device__ inline void store_raw(scalar* to, const Raw& x) {
  __stwb(reinterpret_cast<RawWord*>(to), reinterpret_cast<const RawWord&>(x));
}

__device__ inline Vec to_vec(const Raw& x) {
  Vec out;
#pragma unroll
  for (int i = 0; i < VEC; i++) out.v[i] = to_float(x.v[i]);
  return out;
}

__device__ inline Raw to_raw(const Vec& x) {
  Raw out;
#pragma unroll
  for (int i = 0; i < VEC; i++) from_float(x.v[i], out.v[i]);
  return out;
}

__device__ inline Vec load_vec(const scalar* from) { return to_vec(load_raw(from)); }

__device__ inline Vec load_floats(const float* from) {
  const Pack<float, VEC> pack = *reinterpret_cast<const Pack<float, VEC>*>(from);
  Vec out;
#pragma unroll
  for (int i = 0; i < VEC; i++) out.v[i] = pack.v[i];
  return out;
}

__device__ inline void store_vec(scalar* to, const Vec& x) { store_raw(to, to_raw(x)); }

__device__ inline void add_scaled(Vec& sum, const Vec& x, float weight) {
#pragma unroll
  for (int i = 0; i < VEC; i++) sum.v[i] += weight * x.v[i];
}

// relu(x * scale + shift), the batch norm before a convolution.
__device__ inline Vec norm_relu(const Vec& x, const Vec& scale, const Vec& shift) {
  Vec out;
#pragma unroll
  for (int i = 0; i < VEC; i++) out.v[i] = fmaxf(x.v[i] * scale.v[i] + shift.v[i], 0.f);
  return out;
}

// The grid on the device. `qh`, `qw`: sides of a tile at the level at hand (equal, but for the dense network, which is
// one low tile as large as the picture).
struct Map {
  const int* blocks;  // [N, GH, GW]: first tile * 2 + high
  const int* tiles;   // [T]: position among the fine tiles [N, 2GH, 2GW] * 2 + high; a low tile has its block's first
  int gh, gw, qh, qw;
};

// Beyond a border BlockPad sees zeros, the image's border pixels, or (edge of the block) the block's own.
enum Edge { ZEROS = 0, REPLICATE = 1, BLOCK = 2 };

struct Tile {
  int n;     // image
  int y, x;  // position in tiles of its own resolution: [2GH, 2GW] for a high tile, [GH, GW] for a low one
  bool high;
};

__device__ inline Tile find_tile(const Map& map, int t) {
  const int code = map.tiles[t], position = code >> 1;
  const int column = position % (2 * map.gw), row = position / (2 * map.gw);
  Tile tile;
  tile.high = code & 1;
  tile.n = row / (2 * map.gh);
  tile.y = row % (2 * map.gh);
  tile.x = column;
  if (!tile.high) tile.y >>= 1, tile.x >>= 1;
  return tile;
}

__device__ inline int clamp(int x, int low, int high) { return min(max(x, low), high); }

// The row that BlockPad reads at pixel (y, x) of the canvas of the tile's own resolution: code >= 0 is a row, -1 zero,
// code <= -2 the mean of the 2x2 pixels whose first row is -2 - code.
__device__ inline int find_source(const Map& map, const Tile& tile, int y, int x, int edge) {
  const int per_block = tile.high ? 2 : 1;
  if (edge == BLOCK) {
    const int first_y = tile.y / per_block * per_block * map.qh, first_x = tile.x / per_block * per_block * map.qw;
    y = clamp(y, first_y, first_y + per_block * map.qh - 1);
    x = clamp(x, first_x, first_x + per_block * map.qw - 1);
  } else {
    const int height = per_block * map.gh * map.qh, width = per_block * map.gw * map.qw;
    if (edge == REPLICATE) {
      y = clamp(y, 0, height - 1);
      x = clamp(x, 0, width - 1);
    } else if (y < 0 || y >= height || x < 0 || x >= width) {
      return -1;
    }
  }
  const int side_y = per_block * map.qh, side_x = per_block * map.qw;
  // Two divisions by constants in place of one by a variable.
  const int gy = tile.high ? y / (2 * map.qh) : y / map.qh, gx = tile.high ? x / (2 * map.qw) : x / map.qw;
  const int code = map.blocks[(tile.n * map.gh + gy) * map.gw + gx], first = code >> 1;
  y -= gy * side_y;
  x -= gx * side_x;
  if (!(code & 1)) {  // a low block; a high tile sees it enlarged
    if (tile.high) y >>= 1, x >>= 1;
    return (first * map.qh + y) * map.qw + x;
  }
  if (!tile.high) y *= 2, x *= 2;
  const int ty = y / map.qh, tx = x / map.qw;
  const int row = ((first + 2 * ty + tx) * map.qh + (y - ty * map.qh)) * map.qw + (x - tx * map.qw);
  return tile.high ? row : -2 - row;
}

// What lies around a tile: the table `near` [T, 8] holds, by direction, -1 beyond the image, else tile * 8 + kind. It does
// not depend on the level. ALIKE: a tile of the same resolution, in another block; SAME_BLOCK: a tile of the same high
// block; FINER: the first of the four tiles of a high block beside a low tile; COARSER + 2 * lower + right: a low tile
// beside a high one, which covers that quarter of it.
enum Kind { ALIKE = 0, FINER = 1, SAME_BLOCK = 2, COARSER = 4 };

__device__ inline int direction(int dy, int dx) {
  const int d = 3 * (dy + 1) + dx + 1;
  return d - (d > 4);
}

__device__ inline int find_near(const Map& map, const Tile& tile, int dy, int dx) {
  const int per_block = tile.high ? 2 : 1, y = tile.y + dy, x = tile.x + dx;
  if (y < 0 || x < 0 || y >= per_block * map.gh || x >= per_block * map.gw) return -1;
  const int gy = tile.high ? y >> 1 : y, gx = tile.high ? x >> 1 : x, quarter = 2 * (y & 1) + (x & 1);
  const int code = map.blocks[(tile.n * map.gh + gy) * map.gw + gx], first = code >> 1;
  if (!(code & 1)) return first * 8 + (tile.high ? COARSER + quarter : ALIKE);
  if (!tile.high) return first * 8 + FINER;
  return (first + quarter) * 8 + (gy == tile.y >> 1 && gx == tile.x >> 1 ? SAME_BLOCK : ALIKE);
}

// The row that pixel (y, x), 0..q-1, of a neighbour at the tile's own resolution stands for; codes as in find_source.
__device__ inline int neighbour_row(int neighbour, int y, int x, int qh, int qw) {
  int tile = neighbour >> 3;
  if (neighbour & COARSER) {
    y = ((neighbour & 2 ? qh : 0) + y) >> 1;
    x = ((neighbour & 1 ? qw : 0) + x) >> 1;
  } else if (neighbour & FINER) {
    y *= 2, x *= 2;
    if (y >= qh) y -= qh, tile += 2;
    if (x >= qw) x -= qw, tile += 1;
    return -2 - ((tile * qh + y) * qw + x);
  }
  return (tile * qh + y) * qw + x;
}

// find_source by the table: pixel (y, x) counts from the corner of tile t and lies in it or in a neighbour.
__device__ inline int near_source(const int* near, int t, int y, int x, int qh, int qw, int edge) {
  int dy = y < 0 ? -1 : y >= qh, dx = x < 0 ? -1 : x >= qw;
  near += t * 8;
  if (edge != ZEROS) {
    const auto leaves = [&](int towards) {
      const int neighbour = near[towards];
      return neighbour < 0 || (edge == BLOCK && (neighbour & 7) != SAME_BLOCK);
    };
    if (dy && leaves(direction(dy, 0))) y = dy < 0 ? 0 : qh - 1, dy = 0;
    if (dx && leaves(direction(0, dx))) x = dx < 0 ? 0 : qw - 1, dx = 0;
  }
  if (!dy && !dx) return (t * qh + y) * qw + x;
  const int neighbour = near[direction(dy, dx)];
  return neighbour < 0 ? -1 : neighbour_row(neighbour, y - dy * qh, x - dx * qw, qh, qw);
}

// Rows of a 2x2 group: pixels of one tile, or four tiles of one pixel each.
__device__ inline int group_row(int qw, int first, int i) {
  return qw == 1 ? first + i : first + (i >> 1) * qw + (i & 1);
}

// Channels [c, c+VEC) that a code stands for.
__device__ inline Vec read_code(const scalar* x, int code, int qw, int channels, int c) {
  if (code >= 0) return load_vec(x + (long long)code * channels + c);
  Vec sum = zero_vec();
  if (code == -1) return sum;
#pragma unroll
  for (int i = 0; i < 4; i++)
    add_scaled(sum, load_vec(x + (long long)group_row(qw, -2 - code, i) * channels + c), 0.25f);
  return sum;
}

// The same of a code that is no plain row. Not inlined: many copies of it would not fit into the instruction cache.
__device__ __noinline__ Raw read_other(const scalar* x, int code, int qw, int channels, int c) {
  return to_raw(read_code(x, code, qw, channels, c));
}

// The same for several codes; plain rows, which most are, are all under way before any is looked at.
template <int N>
__device__ inline void read_plain(Raw (&out)[N], const int (&codes)[N], const scalar* x, int channels, int c) {
#pragma unroll
  for (int i = 0; i < N; i++)
    if (codes[i] >= 0) out[i] = load_raw(x + (long long)codes[i] * channels + c);
}

template <int N>
__device__ inline void read_others(Raw (&out)[N], const int (&codes)[N], const scalar* x, int qw, int channels, int c) {
#pragma unroll
  for (int i = 0; i < N; i++)
    if (codes[i] < 0) out[i] = read_other(x, codes[i], qw, channels, c);
}

template <int N>
__device__ inline void read_codes(Raw (&out)[N], const int (&codes)[N], const scalar* x, int qw, int channels, int c) {
  read_plain(out, codes, x, channels, c);
  read_others(out, codes, x, qw, channels, c);
}

// Pixels of the ring around a tile, and the i-th of them.
__device__ inline int ring_size(int qh, int qw) { return 2 * (qh + qw) + 4; }

struct Pixel {
  int y, x;
};

__device__ inline Pixel ring_pixel(int i, int qh, int qw) {
  if (i < qw + 2) return Pixel{-1, i - 1};
  i -= qw + 2;
  if (i < qw + 2) return Pixel{qh, i - 1};
  i -= qw + 2;
  return Pixel{i >> 1, i & 1 ? qw : -1};
}

__device__ inline long long row_at(int t, int y, int x, int qh, int qw) { return ((long long)t * qh + y) * qw + x; }
