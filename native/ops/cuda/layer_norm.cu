// LayerNorm over a pixel's channels: sixteen lanes a pixel, the variance about the mean as the reference has it.
#include "ops/cuda/cuda_ops.h"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

namespace {

constexpr int kThreads = 256, kLanes = 16, kPixels = kThreads / kLanes;

__global__ void layer_norm_kernel(const float* x, NormWeights weights, int channels, int64_t pixels, float* out) {
  const int lane = threadIdx.x % kLanes;
  const int64_t pixel = int64_t{blockIdx.x} * kPixels + threadIdx.x / kLanes;
  const bool inside = pixel < pixels;  // all lanes take part in the sums
  const float* in = x + (inside ? pixel : 0) * channels;
  float sum = 0, squares = 0;
  for (int c = lane; c < channels; c += kLanes) sum += in[c];
  const float mean = lane_sum<kLanes>(sum) / channels;
  for (int c = lane; c < channels; c += kLanes) squares += (in[c] - mean) * (in[c] - mean);
  const float scale = rsqrtf(lane_sum<kLanes>(squares) / channels + kNormEpsilon);
  if (!inside) return;
  for (int c = lane; c < channels; c += kLanes)
    out[pixel * channels + c] = (in[c] - mean) * scale * weights.gain[c] + weights.bias[c];
}

}  // namespace

void CudaOps::layer_norm(ConstTensor x, NormWeights weights, Tensor out) {
  launch(*device_, layer_norm_kernel, blocks_for(x.pixels(), kPixels), kThreads, 0, x.data, weights, x.channels,
         x.pixels(), out.data);
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
