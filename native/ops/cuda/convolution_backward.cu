// The 3x3 convolution's gradients. The input's is the convolution of the output's with the weights turned round; what
// reflection adds to it comes after. The weights' are outer products, a column for every tap of every input channel.
#include "ops/cuda/gradients.cuh"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

namespace {

constexpr int kThreads = 256;

/// Where a coordinate at most one outside lies after reflection.
__device__ __forceinline__ int reflected(int at, int length) {
  if (length == 1) return 0;
  return at < 0 ? 1 : at >= length ? length - 2 : at;
}

/// turned[i][o][8 - tap] = weight[o][i][tap]
__global__ void turn_kernel(const float* weight, int in, int outs, float* turned) {
  const int at = blockIdx.x * blockDim.x + threadIdx.x;
  if (at >= in * outs * 9) return;
  const int tap = at % 9, i = at / 9 % in, o = at / 9 / in;
  turned[(i * outs + o) * 9 + 8 - tap] = weight[at];
}

/// Adds to grad_x what flowed to places outside that reflection takes from inside. A thread a value; few have any.
__global__ void reflected_kernel(const float* weight, const float* grad_out, int height, int width, int in, int outs,
                                 int64_t size, float* grad_x) {
  const int64_t item = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (item >= size) return;
  const int i = static_cast<int>(item % in);
  const int64_t pixel = item / in;
  const int x = static_cast<int>(pixel % width), y = static_cast<int>(pixel / width % height);
  const int64_t image = pixel / width / height * height * width;
  const int rows[3] = {y, -1, height}, columns[3] = {x, -1, width};
  float total = 0;
  for (int r = 0; r < 3; ++r) {
    if (reflected(rows[r], height) != y) continue;
    for (int c = r == 0 ? 1 : 0; c < 3; ++c) {  // but not the place itself
      if (reflected(columns[c], width) != x) continue;
      for (int tap = 0; tap < 9; ++tap) {
        const int from_y = rows[r] - (tap / 3 - 1), from_x = columns[c] - (tap % 3 - 1);
        if (from_y < 0 || from_y >= height || from_x < 0 || from_x >= width) continue;
        const float* grad = grad_out + (image + int64_t{from_y} * width + from_x) * outs;
        for (int o = 0; o < outs; ++o) total += grad[o] * weight[(o * in + i) * 9 + tap];
      }
    }
  }
  grad_x[item] += total;
}

/// Column tap * channels + channel of a pixel: the input where that tap lies.
struct TapValues {
  const float* data;
  int height, width, channels;
  Padding padding;
  __device__ __forceinline__ float operator()(int pixel, int column) const {
    const int tap = column / channels, c = column % channels, row = pixel / width;
    int x = pixel % width + tap % 3 - 1, y = row % height + tap / 3 - 1;
    if (padding == Padding::reflect) {
      x = reflected(x, width);
      y = reflected(y, height);
    } else if (x < 0 || x >= width || y < 0 || y >= height) {
      return 0.0f;
    }
    return data[((int64_t{row / height} * height + y) * width + x) * channels + c];
  }
};

}  // namespace

void CudaOps::convolution_backward(const ConvolutionBackwardArgs& args) {
  const int in = args.x.channels, outs = args.grad_out.channels;
  const int64_t pixels = args.x.pixels();
  add_outer(*device_, Values{args.grad_out.data, outs}, outs,
            TapValues{args.x.data, args.x.height, args.x.width, in, args.padding}, 9 * in, pixels, args.grad_weight,
            args.grad_bias, 9);
  if (!args.grad_x.data) return;
  Scratch scratch(*device_);
  float *turned = scratch.take(int64_t{9} * in * outs), *bias = scratch.take(in);
  if (device_->failed()) return;
  device_->keep(cudaMemsetAsync(bias, 0, in * sizeof(float), device_->queue()), "bias");
  launch(*device_, turn_kernel, blocks_for(int64_t{9} * in * outs, kThreads), kThreads, 0, args.weight, in, outs,
         turned);
  convolution({.x = args.grad_out, .weight = turned, .bias = bias, .out = args.grad_x, .exact = true});
  if (args.padding == Padding::reflect)
    launch(*device_, reflected_kernel, blocks_for(args.x.size(), kThreads), kThreads, 0, args.weight,
           args.grad_out.data, args.x.height, args.x.width, in, outs, args.x.size(), args.grad_x.data);
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
