// BlockSample, BlockPad, BlockCombine and the enlargement by two, forward and backward, on uniform tiles.
//
// Every kernel is a gather, the backward ones too: a thread owns VEC channels of one output pixel and reads whatever
// contributes to it, so there are no atomics and results do not depend on the order of threads.
// Launch: blockIdx.y = tile (or image row), blockIdx.x * blockDim.x + threadIdx.x = pixel * (C / VEC) + channel group.
#include "common.cuh"

// From the places of the blocks in the list (high ones first) to the map of blocks and tiles.
KERNEL grid_map(const unsigned char* high,  // [N*GH*GW]
                const long long* place,     // [N*GH*GW]
                int* blocks,                // [N*GH*GW]
                int* tiles,                 // [T]
                int n_high, int count, int gh, int gw) {
  const int b = blockIdx.x * blockDim.x + threadIdx.x;
  if (b >= count) return;
  const int gx = b % gw, gy = b / gw % gh, n = b / (gw * gh);
  const int position = ((n * gh + gy) * 2) * (2 * gw) + 2 * gx;
  if (high[b]) {
    const int first = 4 * (int)place[b];
    blocks[b] = first * 2 + 1;
    for (int i = 0; i < 4; i++) tiles[first + i] = (position + (i >> 1) * 2 * gw + (i & 1)) * 2 + 1;
  } else {
    const int first = (int)place[b] + 3 * n_high;
    blocks[b] = first * 2;
    tiles[first] = position * 2;
  }
}

KERNEL block_pad(const scalar* x,     // [T, qh, qw, C]
                 scalar* out,         // [T, qh+2p, qw+2p, C]
                 const int* blocks,   // [N, GH, GW]
                 const int* tiles,    // [T]
                 int gh, int gw, int qh, int qw, int channels, int p, int edge) {
  const Map map{blocks, tiles, gh, gw, qh, qw};
  const int groups = channels / VEC, side = qw + 2 * p, t = blockIdx.y;
  const int item = blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= groups * side * (qh + 2 * p)) return;
  const int c = item % groups * VEC, pixel = item / groups;
  const int y = pixel / side - p, x_ = pixel % side - p;
  int code = (t * qh + y) * qw + x_;
  if (y < 0 || y >= qh || x_ < 0 || x_ >= qw) {
    const Tile tile = find_tile(map, t);
    code = find_source(map, tile, tile.y * qh + y, tile.x * qw + x_, edge);
  }
  store_vec(out + ((long long)t * (qh + 2 * p) * side + pixel) * channels + c, read_code(x, code, qw, channels, c));
}

// Places of a padded tile that read the pixels [first, last] of a canvas of `size` pixels, along one axis.
struct Span {
  int begin, end;
};

__device__ inline Span padded_span(int first, int last, int tile, int q, int p, int low, int high, bool replicate) {
  int begin = first - tile * q + p, end = last - tile * q + p;
  if (replicate) {
    if (first <= low) begin = 0;
    if (last >= high) end = q + 2 * p - 1;
  }
  return Span{max(begin, 0), min(end, q + 2 * p - 1)};
}

__device__ inline int floor_div(int a, int b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

// Sum over every padded tile of resolution `fine` that reads the pixels [y0, y1] x [x0, x1] of that resolution's canvas.
__device__ inline void add_readers(Vec& sum, const Map& map, const scalar* grad, int n, bool fine, int y0, int y1, int x0,
                                   int x1, int channels, int c, int p, int edge, int block_y, int block_x, float weight) {
  const int per = fine ? 2 : 1, qh = map.qh, qw = map.qw;
  int low_ty = 0, high_ty = per * map.gh - 1, low_tx = 0, high_tx = per * map.gw - 1;
  if (edge == BLOCK) {
    low_ty = block_y * per, high_ty = low_ty + per - 1;
    low_tx = block_x * per, high_tx = low_tx + per - 1;
  }
  const int low_y = low_ty * qh, high_y = (high_ty + 1) * qh - 1, low_x = low_tx * qw, high_x = (high_tx + 1) * qw - 1;
  const int ty0 = max(low_ty, floor_div(y0 - p, qh)), ty1 = min(high_ty, (y1 + p) / qh);
  const int tx0 = max(low_tx, floor_div(x0 - p, qw)), tx1 = min(high_tx, (x1 + p) / qw);
  const int height = qh + 2 * p, width = qw + 2 * p;
  for (int ty = ty0; ty <= ty1; ty++)
    for (int tx = tx0; tx <= tx1; tx++) {
      const int code = map.blocks[(n * map.gh + ty / per) * map.gw + tx / per];
      if ((code & 1) != fine) continue;
      const int t = (code >> 1) + (fine ? (ty & 1) * 2 + (tx & 1) : 0);
      const Span ys = padded_span(y0, y1, ty, qh, p, low_y, high_y, edge != ZEROS);
      const Span xs = padded_span(x0, x1, tx, qw, p, low_x, high_x, edge != ZEROS);
      for (int y = ys.begin; y <= ys.end; y++)
        for (int x = xs.begin; x <= xs.end; x++)
          add_scaled(sum, load_vec(grad + (((long long)t * height + y) * width + x) * channels + c), weight);
    }
}

// Gradient of block_pad. With `canvas` it is the gradient of BlockCombine instead: high pixels take their gradient
// straight from the dense tensor, and `grad_padded` holds the low tiles alone, from tile `first_low` on.
KERNEL block_pad_backward(const scalar* grad_padded,  // [T, qh+2p, qw+2p, C], or low tiles only
                          const scalar* canvas,       // [N, GH*2qh, GW*2qw, C] or null
                          scalar* out,                // [T, qh, qw, C]
                          const int* blocks, const int* tiles, int gh, int gw, int qh, int qw, int channels, int p,
                          int edge, int first_low) {
  const Map map{blocks, tiles, gh, gw, qh, qw};
  const int groups = channels / VEC, t = blockIdx.y, item = blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= groups * qh * qw) return;
  const int c = item % groups * VEC, pixel = item / groups, y = pixel / qw, x = pixel % qw;
  const int height = qh + 2 * p, width = qw + 2 * p;
  const scalar* grad = canvas ? grad_padded - (long long)first_low * height * width * channels : grad_padded;
  const Tile tile = find_tile(map, t);
  const int cy = tile.y * qh + y, cx = tile.x * qw + x;  // pixel of the canvas of the tile's resolution
  const int margin = tile.high ? 2 * p : p;
  const bool inner = y >= margin && y < qh - margin && x >= margin && x < qw - margin;
  Vec sum = zero_vec();
  if (canvas && tile.high) {
    sum = load_vec(canvas + (((long long)tile.n * 2 * gh * qh + cy) * 2 * gw * qw + cx) * channels + c);
  } else if (inner) {
    sum = load_vec(grad + (((long long)t * height + y + p) * width + x + p) * channels + c);
  } else {
    const int per = tile.high ? 2 : 1;
    add_readers(sum, map, grad, tile.n, tile.high, cy, cy, cx, cx, channels, c, p, edge, tile.y / per, tile.x / per, 1.f);
  }
  if (!inner && edge != BLOCK) {  // readers of the other resolution
    if (tile.high)
      add_readers(sum, map, grad, tile.n, false, cy / 2, cy / 2, cx / 2, cx / 2, channels, c, p, edge, 0, 0, 0.25f);
    else if (!canvas)
      add_readers(sum, map, grad, tile.n, true, 2 * cy, 2 * cy + 1, 2 * cx, 2 * cx + 1, channels, c, p, edge, 0, 0, 1.f);
  }
  store_vec(out + (((long long)t * qh + y) * qw + x) * channels + c, sum);
}

KERNEL block_sample(const scalar* x,  // [N, C, GH*2qh, GW*2qw] by strides; VEC > 1 needs stride_c == 1
                    scalar* out,      // [T, qh+2h, qw+2h, C]
                    const int* blocks, const int* tiles, int gh, int gw, int qh, int qw, int channels, int halo,
                    long long stride_n, long long stride_c, long long stride_y, long long stride_x) {
  const Map map{blocks, tiles, gh, gw, qh, qw};
  const int groups = channels / VEC, side = qw + 2 * halo, t = blockIdx.y;
  const int item = blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= groups * side * (qh + 2 * halo)) return;
  const int c = item % groups * VEC, pixel = item / groups;
  const Tile tile = find_tile(map, t);
  int y = tile.y * qh + pixel / side - halo, x_ = tile.x * qw + pixel % side - halo;
  const int per = tile.high ? 2 : 1;
  Vec sum = zero_vec();
  if (y >= 0 && y < per * gh * qh && x_ >= 0 && x_ < per * gw * qw) {
    const int gy = y / (per * qh), gx = x_ / (per * qw);
    const bool copy = tile.high && (map.blocks[(tile.n * gh + gy) * gw + gx] & 1);
    if (tile.high)
      y = copy ? y : y & ~1, x_ = copy ? x_ : x_ & ~1;
    else
      y *= 2, x_ *= 2;
    const scalar* from = x + tile.n * stride_n + y * stride_y + x_ * stride_x + c * stride_c;
    if (copy) {
      sum = load_vec(from);
    } else {
      for (int i = 0; i < 4; i++) add_scaled(sum, load_vec(from + (i >> 1) * stride_y + (i & 1) * stride_x), 0.25f);
    }
  }
  store_vec(out + ((long long)t * (qh + 2 * halo) * side + pixel) * channels + c, sum);
}

// Where pixel (y, x) of the full-size canvas of image n lies in the tiles, and whether its block is high.
__device__ inline int find_pixel(const Map& map, int n, int y, int x, bool& high) {
  const int gy = y / (2 * map.qh), gx = x / (2 * map.qw);
  const int code = map.blocks[(n * map.gh + gy) * map.gw + gx];
  high = code & 1;
  y -= gy * 2 * map.qh;
  x -= gx * 2 * map.qw;
  if (!high) return (((code >> 1) * map.qh) + (y >> 1)) * map.qw + (x >> 1);
  const int ty = y / map.qh, tx = x / map.qw;
  return (((code >> 1) + 2 * ty + tx) * map.qh + y - ty * map.qh) * map.qw + x - tx * map.qw;
}

// Gradient of block_sample without halo. Launch: blockIdx.y = image * rows + row.
KERNEL block_sample_backward(const scalar* grad,  // [T, qh, qw, C]
                             scalar* out,         // [N, GH*2qh, GW*2qw, C]
                             const int* blocks, const int* tiles, int gh, int gw, int qh, int qw, int channels) {
  const Map map{blocks, tiles, gh, gw, qh, qw};
  const int groups = channels / VEC, width = 2 * gw * qw, height = 2 * gh * qh;
  const int item = blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= groups * width) return;
  const int c = item % groups * VEC, x = item / groups, n = blockIdx.y / height, y = blockIdx.y % height;
  bool high;
  const int row = find_pixel(map, n, y, x, high);
  Vec sum = zero_vec();
  add_scaled(sum, load_vec(grad + (long long)row * channels + c), high ? 1.f : 0.25f);
  store_vec(out + ((long long)blockIdx.y * width + x) * channels + c, sum);
}

// Bilinear enlargement by two at canvas pixel (y, x) of twice the size of the tile's own canvas.
__device__ inline Vec enlarge_at(const Map& map, const Tile& tile, const scalar* x, int y, int x_, int channels, int c,
                                 int edge) {
  const int y0 = y >> 1, x0 = x_ >> 1, y1 = y0 + ((y & 1) ? 1 : -1), x1 = x0 + ((x_ & 1) ? 1 : -1);
  Vec sum = zero_vec();
  add_scaled(sum, read_code(x, find_source(map, tile, y0, x0, edge), map.qw, channels, c), 0.5625f);
  add_scaled(sum, read_code(x, find_source(map, tile, y0, x1, edge), map.qw, channels, c), 0.1875f);
  add_scaled(sum, read_code(x, find_source(map, tile, y1, x0, edge), map.qw, channels, c), 0.1875f);
  add_scaled(sum, read_code(x, find_source(map, tile, y1, x1, edge), map.qw, channels, c), 0.0625f);
  return sum;
}

// `edge`: REPLICATE for the seamless form, BLOCK for the block-local one.
KERNEL block_enlarge(const scalar* x,  // [T, qh, qw, C]
                     scalar* out,      // [T, 2qh, 2qw, C]
                     const int* blocks, const int* tiles, int gh, int gw, int qh, int qw, int channels, int edge) {
  const Map map{blocks, tiles, gh, gw, qh, qw};
  const int groups = channels / VEC, t = blockIdx.y, item = blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= groups * 4 * qh * qw) return;
  const int c = item % groups * VEC, pixel = item / groups;
  const Tile tile = find_tile(map, t);
  const int y = 2 * tile.y * qh + pixel / (2 * qw), x_ = 2 * tile.x * qw + pixel % (2 * qw);
  store_vec(out + ((long long)t * 4 * qh * qw + pixel) * channels + c,
            enlarge_at(map, tile, x, y, x_, channels, c, edge));
}

// Launch: blockIdx.y = image * rows + row.
KERNEL block_combine(const scalar* x,  // [T, qh, qw, C]
                     scalar* out,      // [N, GH*2qh, GW*2qw, C]
                     const int* blocks, const int* tiles, int gh, int gw, int qh, int qw, int channels, int edge) {
  const Map map{blocks, tiles, gh, gw, qh, qw};
  const int groups = channels / VEC, width = 2 * gw * qw, height = 2 * gh * qh;
  const int item = blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= groups * width) return;
  const int c = item % groups * VEC, x_ = item / groups, n = blockIdx.y / height, y = blockIdx.y % height;
  bool high;
  const int row = find_pixel(map, n, y, x_, high);
  const Tile tile{n, y / (2 * qh), x_ / (2 * qw), false};
  const Vec value = high ? load_vec(x + (long long)row * channels + c)
                         : enlarge_at(map, tile, x, y, x_, channels, c, edge);
  store_vec(out + ((long long)blockIdx.y * width + x_) * channels + c, value);
}

// Adjoint of enlarging a tile padded by one pixel and cutting the padding off: from the enlarged gradient to the
// padded tile's. For BlockCombine (`canvas` = 1) the enlarged gradient of the low tiles is read from the dense tensor.
KERNEL enlarge_backward(const scalar* grad,  // [T, 2qh, 2qw, C], or [N, GH*2qh, GW*2qw, C] for the low tiles
                        scalar* out,         // [T, qh+2, qw+2, C], or the low tiles only
                        const int* blocks, const int* tiles, int gh, int gw, int qh, int qw, int channels, int canvas,
                        int first_low) {
  const Map map{blocks, tiles, gh, gw, qh, qw};
  const int groups = channels / VEC, width = qw + 2, item = blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= groups * width * (qh + 2)) return;
  const int c = item % groups * VEC, pixel = item / groups, t = blockIdx.y;
  const int y = pixel / width - 1, x = pixel % width - 1;
  int pitch = 2 * qw;
  const scalar* from = grad + (long long)t * 4 * qh * qw * channels;
  if (canvas) {
    const Tile tile = find_tile(map, first_low + t);
    pitch = 2 * gw * qw;
    from = grad + (((long long)tile.n * 2 * gh + 2 * tile.y) * qh * pitch + 2LL * tile.x * qw) * channels;
  }
  Vec sum = zero_vec();
  for (int j = max(2 * y - 1, 0); j <= min(2 * y + 2, 2 * qh - 1); j++)
    for (int i = max(2 * x - 1, 0); i <= min(2 * x + 2, 2 * qw - 1); i++) {
      const float wy = (j >> 1) == y ? 0.75f : 0.25f, wx = (i >> 1) == x ? 0.75f : 0.25f;
      add_scaled(sum, load_vec(from + ((long long)j * pitch + i) * channels + c), wy * wx);
    }
  store_vec(out + ((long long)t * (qh + 2) * width + pixel) * channels + c, sum);
}
