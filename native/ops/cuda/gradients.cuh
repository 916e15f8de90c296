// Gradients of parameters: sums over all pixels in two steps and a fixed order, so that a step is the same every time.
// Blocks leave parts in fp32, one kernel adds them up in double and to the accumulators; a null one costs nothing.
#pragma once

#include <algorithm>

#include "ops/cuda/sums.cuh"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

/// For sum_parts: *target(i) += the sum, where target(i) is not null.
template <typename Target>
struct AddTo {
  Target target;
  __device__ __forceinline__ void operator()(int, int i, double sum) const {
    if (float* to = target(i)) *to += static_cast<float>(sum);
  }
};

template <typename Target>
void add_parts(Device& device, const float* from, int64_t parts, int64_t count, Target target) {
  sum_parts(device, from, 1, parts, count, AddTo<Target>{target});
}

/// Accumulators whose values lie one after the other in a part. Null ones are passed over.
template <int ranges>
struct Accumulators {
  float* to[ranges];
  int count[ranges];
  __device__ __forceinline__ float* operator()(int i) const {
    for (int r = 0; r < ranges; ++r) {
      if (i < count[r]) return to[r] ? to[r] + i : nullptr;
      i -= count[r];
    }
    return nullptr;
  }
};

/// `count` things shared out among at most `most` blocks: how many each gets, a multiple of `unit`.
inline int64_t share_of(int64_t count, int64_t unit, int64_t most) {
  return ((count + unit - 1) / unit + most - 1) / most * unit;
}

// A linear layer's weights: the sum over pixels of the outer products of a gradient and the layer's input.

constexpr int kOuterThreads = 256, kOuterPixels = 32, kOuterSide = 64;

/// A pixel's values as they lie.
struct Values {
  const float* data;
  int pitch;
  __device__ __forceinline__ float operator()(int pixel, int c) const { return data[int64_t{pixel} * pitch + c]; }
};

/// Times a factor of the image, if there is one.
struct KeptValues {
  const float* data;
  int pitch, area;
  const float* keep;
  __device__ __forceinline__ float operator()(int pixel, int c) const {
    const float value = data[int64_t{pixel} * pitch + c];
    return keep ? value * keep[pixel / area] : value;
  }
};

/// `columns` of the source, then a one: its products sum up to the bias.
template <typename Source>
struct WithOne {
  Source source;
  int columns;
  __device__ __forceinline__ float operator()(int pixel, int c) const { return c == columns ? 1.0f : source(pixel, c); }
};

/// parts[image][part][row][column] = the sum over the part's pixels of left(pixel, row) right(pixel, column). A block
/// takes 64 x 64 of them, a thread 4 x 4.
template <typename Left, typename Right>
__global__ void __launch_bounds__(kOuterThreads)
    outer_kernel(Left left, int rows, Right right, int columns, int area, int share, float* parts) {
  float *lefts = shared_memory<float>(), *rights = lefts + kOuterPixels * kOuterSide;  // [pixel][64] each
  const int across = (columns + kOuterSide - 1) / kOuterSide, top = blockIdx.y / across * kOuterSide,
            first = blockIdx.y % across * kOuterSide;
  const int own = threadIdx.x % kOuterSide, row = threadIdx.x / 16 * 4, column = threadIdx.x % 16 * 4;
  const int start = blockIdx.x * share, end = start + share < area ? start + share : area, image = blockIdx.z * area;
  float sums[4][4] = {};
  for (int at = start; at < end; at += kOuterPixels) {
    __syncthreads();
    for (int t = threadIdx.x / kOuterSide; t < kOuterPixels; t += kOuterThreads / kOuterSide) {
      const bool inside = at + t < end;
      lefts[t * kOuterSide + own] = inside && top + own < rows ? left(image + at + t, top + own) : 0.0f;
      rights[t * kOuterSide + own] = inside && first + own < columns ? right(image + at + t, first + own) : 0.0f;
    }
    __syncthreads();
    if (top + row >= rows || first + column >= columns) continue;
#pragma unroll 4
    for (int t = 0; t < kOuterPixels; ++t) {
      const float4 a = *reinterpret_cast<const float4*>(lefts + t * kOuterSide + row),
                   b = *reinterpret_cast<const float4*>(rights + t * kOuterSide + column);
      const float as[4] = {a.x, a.y, a.z, a.w}, bs[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[i][j] += as[i] * bs[j];
    }
  }
  float* part = parts + (int64_t{blockIdx.z} * gridDim.x + blockIdx.x) * rows * columns;
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j)
      if (top + row + i < rows && first + column + j < columns)
        part[(top + row + i) * columns + first + column + j] = sums[i][j];
}

/// How the pixels of an image are shared out for outer products; it depends on the sizes alone.
struct OuterParts {
  int share;
  unsigned parts, tiles;
  OuterParts(int64_t area, int rows, int columns) {
    constexpr int64_t kBlocks = 1024, kLeast = 32;
    tiles = blocks_for(rows, kOuterSide) * blocks_for(columns, kOuterSide);
    share = static_cast<int>(share_of(area, 4 * kOuterPixels, std::max<int64_t>(kLeast, kBlocks / tiles)));
    parts = blocks_for(area, share);
  }
};

template <typename Left, typename Right>
void outer_products(Device& device, const OuterParts& how, Left left, int rows, Right right, int columns, int images,
                    int64_t area, float* parts) {
  launch(device, outer_kernel<Left, Right>, dim3(how.parts, how.tiles, static_cast<unsigned>(images)), kOuterThreads,
         2 * kOuterPixels * kOuterSide * sizeof(float), left, rows, right, columns, static_cast<int>(area), how.share,
         parts);
}

/// Where column c of row o goes: weight[o][c], or with taps weight[o][c % inner][c / inner]; the last to the bias.
struct OuterAccumulators {
  float *weight, *bias;
  int columns, pitch, taps;
  __device__ __forceinline__ float* operator()(int i) const {
    const int o = i / pitch, c = i % pitch, inner = columns / taps;
    if (c == columns) return bias + o;
    return weight + int64_t{o} * columns + c % inner * taps + c / inner;
  }
};

/// weight[o][c] += the sum over pixels of left(pixel, o) right(pixel, c), and bias[o] += that of left(pixel, o).
template <typename Left, typename Right>
void add_outer(Device& device, Left left, int rows, Right right, int columns, int64_t pixels, float* weight,
               float* bias, int taps = 1) {
  if (!weight && !bias) return;
  if (!weight) columns = 0;
  const int pitch = columns + (bias ? 1 : 0);
  const OuterParts how(pixels, rows, pitch);
  Scratch scratch(device);
  float* parts = scratch.take(int64_t{how.parts} * rows * pitch);
  outer_products(device, how, left, rows, WithOne<Right>{right, columns}, pitch, 1, pixels, parts);
  add_parts(device, parts, how.parts, int64_t{rows} * pitch, OuterAccumulators{weight, bias, columns, pitch, taps});
}

/// grad_x = add + the gradient of norm's input from that of its output; weights.gain null: no norm. `add` may be null;
/// it and grad_out may be grad_x. In layer_norm.cu.
void norm_backward(Device& device, const float* x, NormWeights weights, const float* grad_out, NormGradients gradients,
                   const float* add, int channels, int64_t pixels, float* grad_x);

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
