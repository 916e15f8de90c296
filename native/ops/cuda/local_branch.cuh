// What the local branch's directions share: its tiles, and everything up to its gates.
#pragma once

#include "ops/cuda/cuda_ops.h"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

// A tile of pixels, sixteen lanes a pixel along the channels, and its border of one pixel.
constexpr int kRows = 8, kColumns = 16, kSpan = kColumns + 2, kBorder = (kRows + 2) * kSpan, kThreads = 256;
static_assert(kThreads == kColumns * 16);
constexpr size_t local_border_bytes(int channels) { return size_t(kBorder) * channels * sizeof(float); }

// A tile of the spatial gate's 7x7 convolution.
constexpr int kGateSide = 16, kGateSpan = kGateSide + 6;

struct LocalParameters {
  const float* x;
  LocalBranchWeights weights;
  int height, width, channels, tiles, tiles_of_part;  // tiles of one image
  float *features, *parts;                            // f like x; [batch][parts][C]
  float2* planes;                                     // [batch][height][width]: mean and maximum over channels
  float* spatial;                                     // [batch][height][width]
  float* gates;                                       // [batch][C]
  double* means;                                      // [batch][C]
  float* out;

  __device__ __forceinline__ int top(int tile) const { return tile / ((width + kColumns - 1) / kColumns) * kRows; }
  __device__ __forceinline__ int left(int tile) const { return tile % ((width + kColumns - 1) / kColumns) * kColumns; }
  /// The pixel of place `at` of a tile's border, -1 outside of the image.
  __device__ __forceinline__ int64_t border_pixel(int image, int tile, int at) const {
    const int y = top(tile) + at / kSpan - 1, x = left(tile) + at % kSpan - 1;
    return y < 0 || y >= height || x < 0 || x >= width ? -1 : (int64_t{image} * height + y) * width + x;
  }
};

/// The channel gate of one image from the means of f, by the block: its inner values, and sigmoid(2 m) of channel c.
__device__ __forceinline__ void channel_inner(const LocalBranchWeights& w, const double* means, int channels,
                                              double* inner) {
  for (int r = threadIdx.x; r < w.reduced; r += blockDim.x) {
    double sum = w.channel1_bias[r];
    for (int c = 0; c < channels; ++c) sum += w.channel1_weight[r * channels + c] * means[c];
    inner[r] = sum > 0 ? sum : 0;
  }
  __syncthreads();
}
__device__ __forceinline__ double channel_gate(const LocalBranchWeights& w, const double* inner, int c) {
  double sum = w.channel2_bias[c];
  for (int r = 0; r < w.reduced; ++r) sum += w.channel2_weight[c * w.reduced + r] * inner[r];
  return 1 / (1 + exp(-2 * sum));
}

/// f, its planes and means, and both gates, in `scratch`.
LocalParameters local_gates(Device& device, Scratch& scratch, const LocalBranchArgs& args);

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
