// LayerNorm over a pixel's channels: sixteen lanes a pixel, the variance about the mean as the reference has it.
#include "ops/cuda/gradients.cuh"
#include "ops/cuda/tokens.cuh"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

namespace {

constexpr int kThreads = 256, kPixels = kThreads / kPixelLanes, kMostBlocks = 1024;

__global__ void layer_norm_kernel(const float* x, NormWeights weights, int channels, int64_t pixels, float* out) {
  const int lane = threadIdx.x % kPixelLanes;
  const int64_t pixel = int64_t{blockIdx.x} * kPixels + threadIdx.x / kPixelLanes;
  const bool inside = pixel < pixels;  // all lanes take part in the sums
  const float* in = x + (inside ? pixel : 0) * channels;
  const float2 s = pixel_statistics(in, channels, lane);
  if (!inside) return;
  for (int c = lane; c < channels; c += kPixelLanes)
    out[pixel * channels + c] = (in[c] - s.x) * s.y * weights.gain[c] + weights.bias[c];
}

/// A part, if wanted: the sums of a block's pixels for the gain, then those for the bias.
__global__ void __launch_bounds__(kThreads)
    layer_norm_backward_kernel(const float* x, const float* gain, const float* grad_out, const float* add, int channels,
                               int64_t pixels, int64_t share, float* parts, float* grad_x) {
  const int lane = threadIdx.x % kPixelLanes, row = threadIdx.x / kPixelLanes;
  float* sums = shared_memory<float>();  // [pixel of the block][gain, bias][C]
  float* own = sums + row * 2 * channels;
  if (parts)
    for (int c = lane; c < channels; c += kPixelLanes) own[c] = own[channels + c] = 0;
  const int64_t first = blockIdx.x * share, last = first + share < pixels ? first + share : pixels;
  for (int64_t start = first; start < last; start += kPixels) {
    const bool inside = start + row < last;  // all lanes take part in the sums
    const int64_t at = (inside ? start + row : first) * channels;
    const float *in = x + at, *grad = grad_out + at;
    const float2 s = pixel_statistics(in, channels, lane);
    float slope = 0, along = 0;
    for (int c = lane; c < channels; c += kPixelLanes) {
      slope += grad[c] * gain[c];
      along += grad[c] * gain[c] * ((in[c] - s.x) * s.y);
    }
    slope = lane_sum<kPixelLanes>(slope) / channels;
    along = lane_sum<kPixelLanes>(along) / channels;
    if (!inside) continue;
    for (int c = lane; c < channels; c += kPixelLanes) {
      const float normalised = (in[c] - s.x) * s.y, g = grad[c];
      if (parts) {
        own[c] += g * normalised;
        own[channels + c] += g;
      }
      const float value = s.y * (g * gain[c] - slope - normalised * along);
      grad_x[at + c] = add ? add[at + c] + value : value;
    }
  }
  if (!parts) return;
  __syncthreads();
  for (int i = threadIdx.x; i < 2 * channels; i += kThreads) {
    float sum = 0;
    for (int r = 0; r < kPixels; ++r) sum += sums[r * 2 * channels + i];
    parts[int64_t{blockIdx.x} * 2 * channels + i] = sum;
  }
}

__global__ void no_norm_backward_kernel(const float* grad_out, const float* add, int64_t size, float* grad_x) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < size) grad_x[i] = add ? add[i] + grad_out[i] : grad_out[i];
}

}  // namespace

void CudaOps::layer_norm(ConstTensor x, NormWeights weights, Tensor out) {
  launch(*device_, layer_norm_kernel, blocks_for(x.pixels(), kPixels), kThreads, 0, x.data, weights, x.channels,
         x.pixels(), out.data);
}

void norm_backward(Device& device, const float* x, NormWeights weights, const float* grad_out, NormGradients gradients,
                   const float* add, int channels, int64_t pixels, float* grad_x) {
  if (!weights.gain) {
    launch(device, no_norm_backward_kernel, blocks_for(pixels * channels, kThreads), kThreads, 0, grad_out, add,
           pixels * channels, grad_x);
    return;
  }
  const bool wanted = gradients.gain || gradients.bias;
  const int64_t share = share_of(pixels, kPixels, kMostBlocks);
  const unsigned blocks = blocks_for(pixels, share);
  Scratch scratch(device);
  float* parts = wanted ? scratch.take(int64_t{2} * blocks * channels) : nullptr;
  launch(device, layer_norm_backward_kernel, blocks, kThreads, wanted ? kPixels * 2 * channels * sizeof(float) : 0, x,
         weights.gain, grad_out, add, channels, pixels, share, parts, grad_x);
  if (wanted)
    add_parts(device, parts, blocks, 2 * channels,
              Accumulators<2>{{gradients.gain, gradients.bias}, {channels, channels}});
}

void CudaOps::layer_norm_backward(ConstTensor x, NormWeights weights, ConstTensor grad_out, NormGradients gradients,
                                  Tensor grad_x) {
  norm_backward(*device_, x.data, weights, grad_out.data, gradients, nullptr, x.channels, x.pixels(), grad_x.data);
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
