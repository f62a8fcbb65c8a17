// What stands between the convolutions, each step one pass: finish pooling and pad; pad; enlarge, add, batch norm, ReLU and pad.
//
// Each launch is a row of blocks of threads. The first `halo_blocks` of them fill the halo, which needs chains of
// dependent loads and so goes first; the others do the pixels of the tiles, whose threads have no halo beside them in a
// warp and several 16-byte loads under way each. A thread has VEC channels; channel groups lie closest. With p = 0 (the
// dense network) outputs are not padded, there is no halo and no pixel lies in another tile.
#include "common.cuh"

__device__ inline int neighbour_of(const int* near, int t, const Pixel& at, int qh, int qw) {
  return near[t * 8 + direction(at.y < 0 ? -1 : at.y >= qh, at.x < 0 ? -1 : at.x >= qw)];
}

__device__ inline long long padded_row(int t, int y, int x, int qh, int qw, int p) {
  return row_at(t, y + p, x + p, qh + 2 * p, qw + 2 * p);
}

// The value of a halo pixel, from value(tile, y, x) of the pixels of tiles; BlockPad takes means of finished values.
template <typename F>
__device__ inline Vec halo_value(const int* near, int t, const Pixel& at, int qh, int qw, F value) {
  const int neighbour = neighbour_of(near, t, at, qh, qw);
  if (neighbour < 0) return zero_vec();
  const int y = at.y < 0 ? at.y + qh : at.y >= qh ? at.y - qh : at.y;
  const int x = at.x < 0 ? at.x + qw : at.x >= qw ? at.x - qw : at.x;
  const int code = neighbour_row(neighbour, y, x, qh, qw), first = code >= 0 ? code : -2 - code;
  Vec sum = zero_vec();
#pragma unroll 1
  for (int i = 0; i < (code >= 0 ? 1 : 4); i++) {
    const int row = group_row(qw, first, i);
    add_scaled(sum, value(row / (qh * qw), row / qw % qh, row % qw), code >= 0 ? 1.f : 0.25f);
  }
  return sum;
}

// BlockPad, and on the way what else is made of the same features.
constexpr int HALO_COPIES = 2, COPIES = 4;  // that a thread has under way

KERNEL __launch_bounds__(256) pad_features(
    const scalar* __restrict__ x,     // [T, qh, qw, C]
    scalar* __restrict__ padded,      // [T, qh+2p, qw+2p, C] or null
    scalar* __restrict__ even,        // [T, qh/2, qw/2, C] or null: every second pixel, for a 1x1 stride-2 layer
    scalar* __restrict__ activated,   // [T, qh, qw, C] or null: relu(x * scale + shift), for a 1x1 layer
    const float* __restrict__ scale,  // [C] or null
    const float* __restrict__ shift,  // [C] or null
    const int* __restrict__ near,     // [T, 8]
    int n_tiles, int halo_blocks, int qh, int qw, int channels, int p) {
  FIX_TILE;
  FIX_PADDING;
  const int groups = channels / VEC;
  if ((int)blockIdx.x < halo_blocks) {
    const int ring = ring_size(qh, qw), count = n_tiles * ring * groups;
    const int first = blockIdx.x * HALO_COPIES * blockDim.x + threadIdx.x;
    int codes[HALO_COPIES];
    long long to[HALO_COPIES];
#pragma unroll
    for (int j = 0; j < HALO_COPIES; j++) {
      const int item = first + j * blockDim.x, t = item / groups / ring;
      if (item >= count) continue;
      const Pixel at = ring_pixel(item / groups % ring, qh, qw);
      codes[j] = near_source(near, t, at.y, at.x, qh, qw, ZEROS);
      to[j] = padded_row(t, at.y, at.x, qh, qw, p) * channels + item % groups * VEC;
    }
    after_previous();
    Raw value[HALO_COPIES];
#pragma unroll
    for (int j = 0; j < HALO_COPIES; j++) {
      const int item = first + j * blockDim.x, c = item % groups * VEC;
      if (item >= count) continue;
      value[j] = codes[j] >= 0 ? load_raw(x + (long long)codes[j] * channels + c)
                               : read_other(x, codes[j], qw, channels, c);
    }
#pragma unroll
    for (int j = 0; j < HALO_COPIES; j++)
      if (first + j * (int)blockDim.x < count) store_raw(padded + to[j], value[j]);
    return;
  }
  const int count = n_tiles * qh * qw * groups;
  const int first = (blockIdx.x - halo_blocks) * COPIES * blockDim.x + threadIdx.x;
  after_previous();
  Raw value[COPIES];
#pragma unroll
  for (int j = 0; j < COPIES; j++) {
    const int item = first + j * blockDim.x;
    if (item < count) value[j] = load_raw(x + (long long)item * VEC);
  }
#pragma unroll
  for (int j = 0; j < COPIES; j++) {
    const int item = first + j * blockDim.x, c = item % groups * VEC, row = item / groups;
    if (item >= count) continue;
    const int t = row / (qh * qw), y = row / qw % qh, x_ = row % qw;
    if (padded) store_raw(padded + padded_row(t, y, x_, qh, qw, p) * channels + c, value[j]);
    if (even && !((y | x_) & 1)) store_raw(even + row_at(t, y / 2, x_ / 2, qh / 2, qw / 2) * channels + c, value[j]);
    if (activated)
      store_vec(activated + (long long)item * VEC,
                norm_relu(to_vec(value[j]), load_floats(scale + c), load_floats(shift + c)));
  }
}

__device__ inline void take(Vec& most, const Vec& value) {
#pragma unroll
  for (int i = 0; i < VEC; i++) most.v[i] = fmaxf(most.v[i], value.v[i]);
}

constexpr int POOLED = 8;  // side of what a step of the stem pools (stem.cu)

// Finishes the max pooling (3x3, stride 2) of the stem, whose first pooled row and column of every POOLED x POOLED pixels
// lack what lies above and left of them, then BlockPad. Finishing a pixel twice changes nothing, so threads that need
// another's pixel finish it for themselves, whether they see it before or after.
KERNEL __launch_bounds__(256, 4) pool_border(
    const scalar* __restrict__ edges,  // [T, 2qh, 2qw, C], not negative; only what is read here is written
    scalar* pooled,                    // [T, qh, qw, C]
    scalar* __restrict__ padded,       // [T, qh+2, qw+2, C]; only the halo and what is finished here is written
    const int* __restrict__ near,      // [T, 8]
    int n_tiles, int halo_blocks, int qh, int qw, int channels, int p) {
  after_previous();
  FIX_TILE;
  FIX_PADDING;
  const int groups = channels / VEC, item = blockIdx.x * blockDim.x + threadIdx.x, c = item % groups * VEC;
  const auto finished = [&](int t, int y, int x) {
    const bool row = y % POOLED == 0, column = x % POOLED == 0;
    const bool wanted[5] = {row || column, row, row, column, column};
    int codes[5];
#pragma unroll
    for (int i = 0; i < 5; i++) {
      const int dy = i < 3 ? -1 : i - 3, dx = i < 3 ? i - 1 : -1;
      codes[i] = wanted[i] ? near_source(near, t, 2 * y + dy, 2 * x + dx, 2 * qh, 2 * qw, ZEROS) : -1;
    }
    const Raw own = load_raw(pooled + row_at(t, y, x, qh, qw) * channels + c);
    Raw taps[5];
    read_codes(taps, codes, edges, 2 * qw, channels, c);
    Vec most = to_vec(own);
#pragma unroll
    for (int i = 0; i < 5; i++) take(most, to_vec(taps[i]));
    return most;
  };
  if ((int)blockIdx.x < halo_blocks) {
    const int ring = ring_size(qh, qw), t = item / groups / ring;
    if (t >= n_tiles) return;
    const Pixel at = ring_pixel(item / groups % ring, qh, qw);
    store_vec(padded + padded_row(t, at.y, at.x, qh, qw, p) * channels + c, halo_value(near, t, at, qh, qw, finished));
    return;
  }
  const int whole_rows = qh / POOLED * qw, per_row = qw / POOLED, per_tile = whole_rows + (qh - qh / POOLED) * per_row;
  const int local = (item - halo_blocks * (int)blockDim.x) / groups, t = local / per_tile;
  if (t >= n_tiles) return;
  int i = local % per_tile, y, x;
  if (i < whole_rows) {
    y = i / qw * POOLED, x = i % qw;
  } else {
    i -= whole_rows;
    const int row = i / per_row;
    y = row / (POOLED - 1) * POOLED + row % (POOLED - 1) + 1, x = i % per_row * POOLED;
  }
  const Raw value = to_raw(finished(t, y, x));
  store_raw(pooled + row_at(t, y, x, qh, qw) * channels + c, value);
  if (p) store_raw(padded + padded_row(t, y, x, qh, qw, p) * channels + c, value);
}

// Enlarging by two makes the four outputs (2y-1, 2y) x (2x-1, 2x) from the same four pixels; a tile of sides qh and qw and
// a ring of one output around it are (qh + 1) x (qw + 1) such quads. The i-th of the 2 * (qh + qw) on the border.
__device__ inline Pixel border_quad(int i, int qh, int qw) {
  if (i < qw + 1) return Pixel{0, i};
  i -= qw + 1;
  if (i < qw + 1) return Pixel{qh, i};
  i -= qw + 1;
  return Pixel{1 + (i >> 1), i & 1 ? qw : 0};
}

// One step of the decoder up to its 3x3 layer: relu(bn(enlarge(x) + skip)), padded.
//
// A thread makes a quad of outputs, see border_quad. A halo pixel that lies in a tile of the same resolution comes out of
// its quad; one of another resolution is made from that tile's own pixels, in the first `halo_blocks`. Then come
// `border_blocks` with the quads on the border, then those inside.
KERNEL __launch_bounds__(256, 4) enlarge_add(
    const scalar* __restrict__ x,     // [T, qh/2, qw/2, C]
    const scalar* __restrict__ skip,  // [T, qh, qw, C]
    scalar* __restrict__ out,         // [T, qh+2p, qw+2p, C], or as_taps [T, qh, qw, 9, C], see taps.cu
    const float* __restrict__ scale,  // [C]
    const float* __restrict__ shift,  // [C]
    const int* __restrict__ near,     // [T, 8]
    int n_tiles, int halo_blocks, int border_blocks, int qh, int qw, int channels, int p, int edge, int as_taps) {
  FIX_TILE;
  FIX_PADDING;
  FIX_EDGE;
#ifdef FIXED_TAPS
  as_taps = FIXED_TAPS;
#endif
  const int groups = channels / VEC, ch = qh / 2, cw = qw / 2;
  const int item = blockIdx.x * blockDim.x + threadIdx.x, c = item % groups * VEC;
  const auto keep = [&](int t, int y, int x_, const Raw& value) {
    if (!as_taps) return store_raw(out + padded_row(t, y, x_, qh, qw, p) * channels + c, value);
#pragma unroll 1
    for (int tap = 0; tap < 9; tap++) {
      const int oy = y + 1 - tap / 3, ox = x_ + 1 - tap % 3;
      if (oy >= 0 && ox >= 0 && oy < qh && ox < qw)
        store_raw(out + (row_at(t, oy, ox, qh, qw) * 9 + tap) * channels + c, value);
    }
  };
  // Whether a neighbour's pixels equal what the tile's own resolution shows there.
  const auto same = [&](int neighbour) {
    return neighbour >= 0 && ((neighbour & 7) == SAME_BLOCK || (edge != BLOCK && (neighbour & 7) == ALIKE));
  };
  if ((int)blockIdx.x < halo_blocks) {
    const int ring = ring_size(qh, qw), t = item / groups / ring;
    if (t >= n_tiles) return;
    const Pixel at = ring_pixel(item / groups % ring, qh, qw);
    if (same(neighbour_of(near, t, at, qh, qw))) return;
    after_previous();
    const auto sum_at = [&](int t, int y, int x_) {
      const int y0 = y >> 1, x0 = x_ >> 1, y1 = y0 + ((y & 1) ? 1 : -1), x1 = x0 + ((x_ & 1) ? 1 : -1);
      int codes[4];
#pragma unroll
      for (int i = 0; i < 4; i++) codes[i] = near_source(near, t, i & 2 ? y1 : y0, i & 1 ? x1 : x0, ch, cw, edge);
      const Raw own = load_raw(skip + row_at(t, y, x_, qh, qw) * channels + c);
      Raw taps[4];
      read_codes(taps, codes, x, cw, channels, c);
      Vec sum = to_vec(own);
#pragma unroll
      for (int i = 0; i < 4; i++) add_scaled(sum, to_vec(taps[i]), i == 0 ? 0.5625f : i == 3 ? 0.0625f : 0.1875f);
      return norm_relu(sum, load_floats(scale + c), load_floats(shift + c));
    };
    keep(t, at.y, at.x, to_raw(halo_value(near, t, at, qh, qw, sum_at)));
    return;
  }
  int t, ky, kx, own[4];  // the quad's place among the tile's, rows of its four skip pixels (-1: not to be made here)
  Raw corners[4];
  const bool border = (int)blockIdx.x < halo_blocks + border_blocks;
  if (border) {
    const int per_tile = qh + qw, local = item - halo_blocks * (int)blockDim.x;
    t = local / groups / per_tile;
    if (t >= n_tiles) return;
    const Pixel place = border_quad(local / groups % per_tile, ch, cw);
    ky = place.y, kx = place.x;
    int codes[4];
#pragma unroll
    for (int j = 0; j < 4; j++) codes[j] = near_source(near, t, ky - 1 + j / 2, kx - 1 + j % 2, ch, cw, edge);
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const Pixel at{2 * ky - 1 + j / 2, 2 * kx - 1 + j % 2};
      const int dy = at.y < 0 ? -1 : at.y >= qh, dx = at.x < 0 ? -1 : at.x >= qw;
      own[j] = -1;
      if (!dy && !dx) {
        own[j] = (int)row_at(t, at.y, at.x, qh, qw);
      } else if (p) {
        const int neighbour = near[t * 8 + direction(dy, dx)];
        if (same(neighbour)) own[j] = (int)row_at(neighbour >> 3, at.y - dy * qh, at.x - dx * qw, qh, qw);
      }
    }
    after_previous();
    read_codes(corners, codes, x, cw, channels, c);
  } else {
    const int per_tile = max((ch - 1) * (cw - 1), 1), local = item - (halo_blocks + border_blocks) * (int)blockDim.x;
    const int quad = local / groups % per_tile;
    t = local / groups / per_tile;
    if (t >= n_tiles) return;
    ky = 1 + quad / max(cw - 1, 1), kx = 1 + quad % max(cw - 1, 1);
    after_previous();
#pragma unroll
    for (int j = 0; j < 4; j++) {
      corners[j] = load_raw(x + row_at(t, ky - 1 + j / 2, kx - 1 + j % 2, ch, cw) * channels + c);
      own[j] = (int)row_at(t, 2 * ky - 1 + j / 2, 2 * kx - 1 + j % 2, qh, qw);
    }
  }
  Raw skips[4];
#pragma unroll
  for (int j = 0; j < 4; j++)
    if (own[j] >= 0) skips[j] = load_raw(skip + (long long)own[j] * channels + c);
  const Vec gain = load_floats(scale + c), offset = load_floats(shift + c);
  // Between its corners a quad is interpolated in halves, two channels at once; batch norm is taken in floats.
#pragma unroll
  for (int i = 0; i < VEC; i += 2) {
    const __half2 quarter = __float2half2_rn(0.25f), minus = __float2half2_rn(-0.25f);
    const auto pair = [&](Raw& pack) -> __half2& { return reinterpret_cast<__half2&>(pack.v[i]); };
    __half2 side[2][2];  // [row of corners][column of outputs]
#pragma unroll
    for (int j = 0; j < 2; j++) {
      const __half2 left = pair(corners[2 * j]), right = pair(corners[2 * j + 1]), rise = __hsub2(right, left);
      side[j][0] = __hfma2(quarter, rise, left);
      side[j][1] = __hfma2(minus, rise, right);
    }
#pragma unroll
    for (int k = 0; k < 2; k++) {
      const __half2 rise = __hsub2(side[1][k], side[0][k]);
      const __half2 sums[2] = {__hadd2(__hfma2(quarter, rise, side[0][k]), pair(skips[k])),
                               __hadd2(__hfma2(minus, rise, side[1][k]), pair(skips[2 + k]))};
#pragma unroll
      for (int j = 0; j < 2; j++) {
        const float2 sum = __half22float2(sums[j]);
        const float2 value{sum.x * gain.v[i] + offset.v[i], sum.y * gain.v[i + 1] + offset.v[i + 1]};
        pair(skips[2 * j + k]) = __hmax2(__float22half2_rn(value), __float2half2_rn(0.f));
      }
    }
  }
#pragma unroll
  for (int j = 0; j < 4; j++)
    if (own[j] >= 0) keep(t, 2 * ky - 1 + j / 2, 2 * kx - 1 + j % 2, skips[j]);
}

// BlockCombine of one image: high tiles are copied, low ones enlarged bilinearly, a quad a thread. The first
// `border_blocks` make the quads on the border of low tiles, then come `copy_blocks` for the high tiles.
KERNEL __launch_bounds__(256) combine_tiles(
    const scalar* __restrict__ x,    // [T, qh, qw, C], the first `first_low` tiles high
    scalar* __restrict__ out,        // [GH*2qh, GW*2qw, C]
    const int* __restrict__ near,    // [T, 8]
    const int* __restrict__ tiles, int gh, int gw, int n_tiles, int first_low, int border_blocks, int copy_blocks, int qh,
    int qw, int channels, int edge) {
  after_previous();
  FIX_SIDES;
  FIX_EDGE;
  const Map map{nullptr, tiles, gh, gw, qh, qw};
  const int groups = channels / VEC, pitch = 2 * gw * qw, block = blockIdx.x;
  if (block >= border_blocks && block < border_blocks + copy_blocks) {
    const int first = (block - border_blocks) * COPIES * blockDim.x + threadIdx.x;
    const int count = first_low * qh * qw * groups;
    Raw value[COPIES];
#pragma unroll
    for (int j = 0; j < COPIES; j++)
      if (first + j * (int)blockDim.x < count) value[j] = load_raw(x + (long long)(first + j * blockDim.x) * VEC);
#pragma unroll
    for (int j = 0; j < COPIES; j++) {
      const int item = first + j * blockDim.x, c = item % groups * VEC, row = item / groups;
      if (item >= count) continue;
      const Tile tile = find_tile(map, row / (qh * qw));
      const int y = tile.y * qh + row / qw % qh, x_ = tile.x * qw + row % qw;
      store_raw(out + ((long long)y * pitch + x_) * channels + c, value[j]);
    }
    return;
  }
  const bool border = block < border_blocks;
  const int item = (border ? block : block - border_blocks - copy_blocks) * blockDim.x + threadIdx.x;
  const int per_tile = border ? 2 * (qh + qw) : max((qh - 1) * (qw - 1), 1), c = item % groups * VEC;
  const int t = first_low + item / groups / per_tile, i = item / groups % per_tile;
  if (t >= n_tiles) return;
  const Pixel at = border ? border_quad(i, qh, qw) : Pixel{1 + i / max(qw - 1, 1), 1 + i % max(qw - 1, 1)};
  Vec corners[4];
  if (border) {
    int codes[4];
#pragma unroll
    for (int j = 0; j < 4; j++) codes[j] = near_source(near, t, at.y - 1 + j / 2, at.x - 1 + j % 2, qh, qw, edge);
    Raw found[4];
    read_codes(found, codes, x, qw, channels, c);
#pragma unroll
    for (int j = 0; j < 4; j++) corners[j] = to_vec(found[j]);
  } else {
#pragma unroll
    for (int j = 0; j < 4; j++)
      corners[j] = load_vec(x + row_at(t, at.y - 1 + j / 2, at.x - 1 + j % 2, qh, qw) * channels + c);
  }
  const Tile tile = find_tile(map, t);
#pragma unroll
  for (int j = 0; j < 4; j++) {
    const int y = 2 * at.y - 1 + j / 2, x_ = 2 * at.x - 1 + j % 2;
    if (y < 0 || x_ < 0 || y >= 2 * qh || x_ >= 2 * qw) continue;
    Vec sum = zero_vec();
#pragma unroll
    for (int k = 0; k < 4; k++) add_scaled(sum, corners[k], (k / 2 == j / 2 ? 0.75f : 0.25f) * (k % 2 == j % 2 ? 0.75f : 0.25f));
    store_vec(out + ((long long)(2 * tile.y * qh + y) * pitch + 2 * tile.x * qw + x_) * channels + c, sum);
  }
}
