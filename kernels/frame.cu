// From the frame to the grid: what the policy network sees, the ranking of blocks, the map of blocks and tiles.
#include "common.cuh"

// Sum of the normalised values of the pixels [y, y+n) x [x, x+n) of channel c; beyond the content lies zero.
__device__ inline float pixel_sum(const unsigned char* frame, int height, int width, int y, int x, int n, int c,
                                  float offset, float gain) {
  float sum = 0.f;
  for (int j = y; j < min(y + n, height); j++)
    for (int i = x; i < min(x + n, width); i++) sum += (float)frame[(j * width + i) * 3 + c] - offset;
  return sum * gain;
}

// The input of the policy network: every `step`-th pixel, normalised, channels padded with zeros.
KERNEL policy_input(const unsigned char* frame,  // [height, width, 3]
                    const float* norm,           // [6]: offsets (0..255), gains
                    scalar* out,                 // [rows, columns, channels]
                    int height, int width, int rows, int columns, int step, int channels) {
  const int item = blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= rows * columns * channels) return;
  const int c = item % channels, x = item / channels % columns * step, y = item / channels / columns * step;
  const float value = c < 3 ? pixel_sum(frame, height, width, y, x, 1, c, norm[c], norm[3 + c]) : 0.f;
  from_float(value, out[item]);
}

// The whole normalised picture as floats, planes first, for policies written in torch.
KERNEL normalise(const unsigned char* frame,  // [height, width, 3]
                 const float* norm,           // [6]
                 float* out,                  // [3, rows, columns]
                 int height, int width, int rows, int columns) {
  const int item = blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= rows * columns) return;
  const int y = item / columns, x = item % columns;
  for (int c = 0; c < 3; c++)
    out[(long long)c * rows * columns + item] = pixel_sum(frame, height, width, y, x, 1, c, norm[c], norm[3 + c]);
}

// Ranks the blocks, highest score first, equal ones row-major, and counts those above the threshold up to `allowed`.
// `count` must be 0 before.
KERNEL rank_blocks(const float* scores,  // [blocks]
                   const float* limits,  // [2]: threshold, allowed
                   int* rank,            // [blocks]
                   int* count,           // [1]
                   int blocks) {
  const int b = blockIdx.x * blockDim.x + threadIdx.x;
  if (b >= blocks) return;
  const float own = scores[b];
  int before = 0;
  for (int i = 0; i < blocks; i++) before += scores[i] > own || (scores[i] == own && i < b);
  rank[b] = before;
  if (own > limits[0]) atomicMax(count, min(before + 1, (int)limits[1]));
}

// The map of blocks and tiles where the `n_high` blocks of the highest rank are high. Tiles stand in order of rank.
KERNEL rank_map(const int* rank,       // [blocks]
                unsigned char* high,   // [blocks]
                int* block_map,        // [blocks]
                int* tiles,            // [4 * n_high + n_low]
                int n_high, int blocks, int gh, int gw) {
  const int b = blockIdx.x * blockDim.x + threadIdx.x;
  if (b >= blocks) return;
  const int gx = b % gw, gy = b / gw, place = rank[b];
  const int position = gy * 2 * (2 * gw) + 2 * gx;
  high[b] = place < n_high;
  if (place < n_high) {
    block_map[b] = 4 * place * 2 + 1;
    for (int i = 0; i < 4; i++) tiles[4 * place + i] = (position + (i >> 1) * 2 * gw + (i & 1)) * 2 + 1;
  } else {
    block_map[b] = (place + 3 * n_high) * 2;
    tiles[place + 3 * n_high] = position * 2;
  }
}
