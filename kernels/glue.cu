// What stands between the convolutions, each step one pass: pool and pad; pad; enlarge, add, batch norm, ReLU and pad.
//
// Launch: blockIdx.y = tile, blockIdx.x * blockDim.x + threadIdx.x = pixel * (C / VEC) + channel group. With p = 0 (the
// dense network) outputs are not padded and no pixel lies in another tile.
#include "common.cuh"

struct Item {
  int c, y, x;  // first channel, pixel of the tile; -p..q+p-1
  bool inside;  // of the tile, not of its padding
  bool valid;
};

__device__ inline Item find_item(const Map& map, int channels, int p) {
  const int groups = channels / VEC, side = map.qw + 2 * p, item = blockIdx.x * blockDim.x + threadIdx.x;
  const int pixel = item / groups;
  Item out;
  out.c = (item - pixel * groups) * VEC;
  out.y = pixel / side;
  out.x = pixel - out.y * side - p;
  out.y -= p;
  out.valid = out.y < map.qh + p;
  out.inside = out.y >= 0 && out.y < map.qh && out.x >= 0 && out.x < map.qw;
  return out;
}

__device__ inline long long padded_at(const Map& map, const Item& at, int t, int p) {
  return ((long long)t * (map.qh + 2 * p) + at.y + p) * (map.qw + 2 * p) + at.x + p;
}

// Calls value(row) for the row, or averages it over the four rows, that pixel `at` of tile t stands for. The value is
// computed before the mean, as the layers before a BlockPad are.
template <typename F>
__device__ inline Vec padded_value(const Map& map, const Item& at, int t, F value) {
  int code = (t * map.qh + at.y) * map.qw + at.x;
  if (!at.inside) {
    const Tile tile = find_tile(map, t);
    code = find_source(map, tile, tile.y * map.qh + at.y, tile.x * map.qw + at.x, ZEROS);
  }
  if (code >= 0) return value(code);
  Vec sum = zero_vec();
  if (code == -1) return sum;
#pragma unroll 1
  for (int i = 0; i < 4; i++) add_scaled(sum, value(group_row(map, -2 - code, i)), 0.25f);
  return sum;
}

// Max pooling 3x3, stride 2, of features that are not negative, then BlockPad.
KERNEL __launch_bounds__(256, 4) pool_pad(const scalar* x,  // [T, 2qh, 2qw, C]
                scalar* pooled,   // [T, qh, qw, C]
                scalar* padded,   // [T, qh+2, qw+2, C]; not written where p = 0
                const int* blocks, const int* tiles, int gh, int gw, int qh, int qw, int channels, int p) {
  FIX_SIDES;
  FIX_PADDING;
  const Map map{blocks, tiles, gh, gw, qh, qw}, fine{blocks, tiles, gh, gw, 2 * qh, 2 * qw};
  const int t = blockIdx.y;
  const Item at = find_item(map, channels, p);
  if (!at.valid) return;
  const auto pool = [&](int row) {
    const int other = row / (qh * qw), y0 = 2 * (row / qw % qh), x0 = 2 * (row % qw);
    Vec most = zero_vec();
    const auto take = [&](const Vec& value) {
#pragma unroll
      for (int i = 0; i < VEC; i++) most.v[i] = fmaxf(most.v[i], value.v[i]);
    };
    if (y0 > 0 && x0 > 0) {
      const scalar* from = x + ((long long)(other * fine.qh + y0 - 1) * fine.qw + x0 - 1) * channels + at.c;
#pragma unroll
      for (int i = 0; i < 9; i++) take(load_vec(from + (i / 3 * fine.qw + i % 3) * channels));
      return most;
    }
    const Tile tile = find_tile(fine, other);
#pragma unroll 1
    for (int i = 0; i < 9; i++) {
      const int y = y0 - 1 + i / 3, x_ = x0 - 1 + i % 3;
      int code = (other * fine.qh + y) * fine.qw + x_;
      if (y < 0 || x_ < 0) code = find_source(fine, tile, tile.y * fine.qh + y, tile.x * fine.qw + x_, ZEROS);
      take(read_code(fine, x, code, channels, at.c));
    }
    return most;
  };
  const Vec value = padded_value(map, at, t, pool);
  if (p) store_vec(padded + padded_at(map, at, t, p) * channels + at.c, value);
  if (at.inside) store_vec(pooled + (((long long)t * qh + at.y) * qw + at.x) * channels + at.c, value);
}

// BlockPad, and on the way what else is made of the same features.
KERNEL pad_features(const scalar* x,      // [T, qh, qw, C]
                    scalar* padded,       // [T, qh+2p, qw+2p, C] or null
                    scalar* even,         // [T, qh/2, qw/2, C] or null: every second pixel, for a 1x1 stride-2 layer
                    scalar* activated,    // [T, qh, qw, C] or null: relu(x * scale + shift), for a 1x1 layer
                    const float* scale,   // [C] or null
                    const float* shift,   // [C] or null
                    const int* blocks, const int* tiles, int gh, int gw, int qh, int qw, int channels, int p) {
  FIX_SIDES;
  FIX_PADDING;
  const Map map{blocks, tiles, gh, gw, qh, qw};
  const int t = blockIdx.y;
  const Item at = find_item(map, channels, p);
  if (!at.valid) return;
  const Vec value = padded_value(
      map, at, t, [&](int row) { return load_vec(x + (long long)row * channels + at.c); });
  if (padded) store_vec(padded + padded_at(map, at, t, p) * channels + at.c, value);
  if (!at.inside) return;
  if (even && !(at.y & 1) && !(at.x & 1))
    store_vec(even + (((long long)t * (qh / 2) + at.y / 2) * (qw / 2) + at.x / 2) * channels + at.c, value);
  if (activated)
    store_vec(activated + (((long long)t * qh + at.y) * qw + at.x) * channels + at.c,
              norm_relu(value, load_floats(scale + at.c), load_floats(shift + at.c)));
}

// One step of the decoder up to its 3x3 layer: relu(bn(enlarge(x) + skip)), padded.
KERNEL __launch_bounds__(256, 4) enlarge_add(const scalar* x,     // [T, qh/2, qw/2, C]
                   const scalar* skip,  // [T, qh, qw, C]
                   scalar* padded,      // [T, qh+2p, qw+2p, C]
                   const float* scale,  // [C]
                   const float* shift,  // [C]
                   const int* blocks, const int* tiles, int gh, int gw, int qh, int qw, int channels, int p, int edge) {
  FIX_SIDES;
  FIX_PADDING;
  const Map map{blocks, tiles, gh, gw, qh, qw}, coarse{blocks, tiles, gh, gw, qh / 2, qw / 2};
  const int t = blockIdx.y;
  const Item at = find_item(map, channels, p);
  if (!at.valid) return;
  const auto sum_at = [&](int row) {
    const int other = row / (qh * qw), y = row / qw % qh, x_ = row % qw;
    const int y0 = y >> 1, x0 = x_ >> 1, y1 = y0 + ((y & 1) ? 1 : -1), x1 = x0 + ((x_ & 1) ? 1 : -1);
    Vec sum = load_vec(skip + (long long)row * channels + at.c);
    const bool inner = y1 >= 0 && y1 < coarse.qh && x1 >= 0 && x1 < coarse.qw;
    if (inner) {
      const scalar* from = x + (long long)other * coarse.qh * coarse.qw * channels + at.c;
      add_scaled(sum, load_vec(from + (y0 * coarse.qw + x0) * channels), 0.5625f);
      add_scaled(sum, load_vec(from + (y0 * coarse.qw + x1) * channels), 0.1875f);
      add_scaled(sum, load_vec(from + (y1 * coarse.qw + x0) * channels), 0.1875f);
      add_scaled(sum, load_vec(from + (y1 * coarse.qw + x1) * channels), 0.0625f);
      return norm_relu(sum, load_floats(scale + at.c), load_floats(shift + at.c));
    }
    const Tile tile = find_tile(coarse, other);
#pragma unroll 1
    for (int i = 0; i < 4; i++) {
      const int ty = i & 2 ? y1 : y0, tx = i & 1 ? x1 : x0;
      const int code = find_source(coarse, tile, tile.y * coarse.qh + ty, tile.x * coarse.qw + tx, edge);
      add_scaled(sum, read_code(coarse, x, code, channels, at.c), i == 0 ? 0.5625f : i == 3 ? 0.0625f : 0.1875f);
    }
    return norm_relu(sum, load_floats(scale + at.c), load_floats(shift + at.c));
  };
  store_vec(padded + padded_at(map, at, t, p) * channels + at.c, padded_value(map, at, t, sum_at));
}
