// Spatial pyramid pooling at stride 32 straight on tiles: the means of the cells, and the input of the fusing layer.
#include "common.cuh"

// Cells of a level of the pyramid; no arrays, which would lie in memory where the level is not known when compiled.
struct Levels {
  int columns0, columns1, columns2;
  __device__ int rows(int level) const { return 8 >> level; }
  __device__ int columns(int level) const { return level == 0 ? columns0 : level == 1 ? columns1 : columns2; }
  __device__ int cells(int level) const { return rows(level) * columns(level); }
};

// The row that holds pixel (y, x) of the canvas: the fine one, where low blocks are repeated, or (`fine` = 0, only where
// every block is low) the coarse one.
__device__ inline int canvas_row(const Map& map, int y, int x, int fine) {
  const int side_y = fine ? 2 * map.qh : map.qh, side_x = fine ? 2 * map.qw : map.qw;
  const int gy = y / side_y, gx = x / side_x, code = map.blocks[gy * map.gw + gx];
  int first = code >> 1;
  y -= gy * side_y;
  x -= gx * side_x;
  if (code & 1) {
    const int ty = y / map.qh, tx = x / map.qw;
    first += 2 * ty + tx;
    y -= ty * map.qh;
    x -= tx * map.qw;
  } else if (fine) {
    y >>= 1, x >>= 1;
  }
  return (first * map.qh + y) * map.qw + x;
}

constexpr int PARTS = 8;       // threads that share a sum over channels
constexpr int AHEAD = 4;       // loads under way
constexpr int CHANNELS = 256;  // at most

// One cell a block, 512 threads: mean over its window, batch norm, ReLU, 1x1 layer. C <= 256, width <= 64. The weights are
// under way while the mean is taken.
KERNEL __launch_bounds__(512, 2) pool_cells(const scalar* x,       // [T, qh, qw, C]
                  const float* scale,    // [3, C]
                  const float* shift,    // [3, C]
                  const float* weights,  // [3, C, width]
                  float* cells,          // [sum of rows * columns, width]
                  const int* blocks, int gh, int gw, int qh, int qw, int channels, int width, int fine, int columns0,
                  int columns1, int columns2) {
  FIX_SIDES;
  __shared__ float part[4096];
  __shared__ float mean[256];
  const Levels levels{columns0, columns1, columns2};
  const Map map{blocks, nullptr, gh, gw, qh, qw};
  int level = 0, cell = blockIdx.x;
  while (cell >= levels.cells(level)) cell -= levels.cells(level), level++;
  const int height = gh * qh * (fine ? 2 : 1), canvas_width = gw * qw * (fine ? 2 : 1);
  const int rows = levels.rows(level), columns = levels.columns(level), i = cell / columns, j = cell % columns;
  const int y0 = i * height / rows, y1 = ((i + 1) * height + rows - 1) / rows;
  const int x0 = j * canvas_width / columns, x1 = ((j + 1) * canvas_width + columns - 1) / columns;
  const int groups = channels / VEC, workers = min((int)blockDim.x / groups, 4096 / channels), count = (y1 - y0) * (x1 - x0);
  const int worker = threadIdx.x / groups, c = threadIdx.x % groups * VEC;
  const int own = threadIdx.x / width, out = threadIdx.x % width;
  float held[CHANNELS / PARTS];
#pragma unroll
  for (int i = 0; i < CHANNELS / PARTS; i++) {
    const int k = own + i * PARTS;
    held[i] = i * PARTS < channels && own < PARTS && k < channels ? weights[((long long)level * channels + k) * width + out] : 0.f;
  }
  const int at = level * channels + min((int)threadIdx.x, channels - 1);
  const float gain = scale[at], offset = shift[at];
  after_previous();
  if (worker < workers) {
    Vec sum = zero_vec();
    for (int begin = worker; begin < count; begin += AHEAD * workers) {
      Raw values[AHEAD];
#pragma unroll
      for (int j = 0; j < AHEAD; j++) {
        const int k = begin + j * workers;
        if (k >= count) continue;
        const int row = canvas_row(map, y0 + k / (x1 - x0), x0 + k % (x1 - x0), fine);
        values[j] = load_raw(x + (long long)row * channels + c);
      }
#pragma unroll
      for (int j = 0; j < AHEAD; j++)
        if (begin + j * workers < count) add_scaled(sum, to_vec(values[j]), 1.f);
    }
    for (int k = 0; k < VEC; k++) part[worker * channels + c + k] = sum.v[k];
  }
  __syncthreads();
  if ((int)threadIdx.x < channels) {
    float sum = 0.f;
    for (int k = 0; k < workers; k++) sum += part[k * channels + threadIdx.x];
    mean[threadIdx.x] = fmaxf(sum / count * gain + offset, 0.f);
  }
  __syncthreads();
  if (own < PARTS) {
    float sum = 0.f;
#pragma unroll
    for (int i = 0; i < CHANNELS / PARTS; i++)
      if (i * PARTS < channels && own + i * PARTS < channels) sum += mean[own + i * PARTS] * held[i];
    part[own * width + out] = sum;
  }
  __syncthreads();
  if ((int)threadIdx.x < width) {
    float sum = 0.f;
#pragma unroll
    for (int k = 0; k < PARTS; k++) sum += part[k * width + threadIdx.x];
    cells[(long long)blockIdx.x * width + threadIdx.x] = sum;
  }
}

// The cells of a level enlarged bilinearly to the canvas, at pixel (y, x).
__device__ inline float cell_at(const float* cells, int rows, int columns, int width, int height, int canvas_width, int y,
                                int x, int c) {
  const float fy = fmaxf((y + 0.5f) * rows / height - 0.5f, 0.f), fx = fmaxf((x + 0.5f) * columns / canvas_width - 0.5f, 0.f);
  const int y0 = min((int)fy, rows - 1), x0 = min((int)fx, columns - 1);
  const int y1 = min(y0 + 1, rows - 1), x1 = min(x0 + 1, columns - 1);
  const float wy = fy - y0, wx = fx - x0;
  const float top = cells[(y0 * columns + x0) * width + c] * (1 - wx) + cells[(y0 * columns + x1) * width + c] * wx;
  const float bottom = cells[(y1 * columns + x0) * width + c] * (1 - wx) + cells[(y1 * columns + x1) * width + c] * wx;
  return top * (1 - wy) + bottom * wy;
}

// relu(bn(concat(x, enlarged cells))) on tiles, channels padded with zeros to `total`. Launch: blockIdx.y = tile.
KERNEL pyramid(const scalar* x,      // [T, qh, qw, C]
               const float* cells,   // [sum of rows * columns, width]
               const float* scale,   // [total]
               const float* shift,   // [total]
               scalar* out,          // [T, qh, qw, total]
               const int* blocks, const int* tiles, int gh, int gw, int qh, int qw, int channels, int width, int total,
               int fine, int columns0, int columns1, int columns2) {
  after_previous();
  FIX_SIDES;
  const Map map{blocks, tiles, gh, gw, qh, qw};
  const int item = blockIdx.x * blockDim.x + threadIdx.x, t = blockIdx.y;
  if (item >= qh * qw * total) return;
  const int c = item % total, pixel = item / total;
  const long long row = (long long)t * qh * qw + pixel;
  float value = 0.f;
  if (c < channels) {
    value = to_float(x[row * channels + c]);
  } else if (c < channels + 3 * width) {
    const Levels levels{columns0, columns1, columns2};
    const int level = (c - channels) / width, own = (c - channels) % width;
    for (int l = 0; l < level; l++) cells += levels.cells(l) * width;
    const int rows = levels.rows(level), columns = levels.columns(level);
    const int height = gh * qh * (fine ? 2 : 1), canvas_width = gw * qw * (fine ? 2 : 1);
    const Tile tile = find_tile(map, t);
    const int y = tile.y * qh + pixel / qw, x_ = tile.x * qw + pixel % qw;
    if (tile.high || !fine) {
      value = cell_at(cells, rows, columns, width, height, canvas_width, y, x_, own);
    } else {
      for (int i = 0; i < 4; i++)
        value += 0.25f * cell_at(cells, rows, columns, width, height, canvas_width, 2 * y + (i >> 1), 2 * x_ + (i & 1), own);
    }
  }
  from_float(fmaxf(value * scale[c] + shift[c], 0.f), out[row * total + c]);
}
