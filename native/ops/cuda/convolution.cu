// Convolutions in fp32 as implicit products: a block takes a tile of pixels and 4 kGroups outputs, a few input channels
// with their border at a time in shared memory; a thread four neighbouring pixels and four outputs.
#include "ops/cuda/cuda_ops.h"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

namespace {

constexpr int kThreads = 256, kRun = 4, kOuts = 4, kChannels = 4;

struct ConvolutionParameters {
  const float *x, *weight, *bias, *add;
  float* out;
  int height, width, in, outs, pitch;
  Padding padding;
  bool sigmoid;
};

/// Where a coordinate lies by the padding; -1: a zero.
__device__ __forceinline__ int padded(int at, int length, Padding padding) {
  if (at >= 0 && at < length) return at;
  if (padding == Padding::zero) return -1;
  if (length == 1) return 0;
  while (at < 0 || at >= length) at = at < 0 ? -at : 2 * (length - 1) - at;
  return at;
}

/// A tile's side for the number of output groups: together they are the block's threads.
constexpr int tile_side(int groups) { return groups == 16 ? 8 : groups == 4 ? 16 : 32; }
constexpr int64_t shared_floats(int groups, int side) {
  const int64_t span = tile_side(groups) + side - 1, in = kChannels * span * span, out = kThreads * kRun * kOuts;
  return in > out ? in : out;
}

template <int kGroups, int kSide>
__global__ void __launch_bounds__(kThreads) convolution_kernel(ConvolutionParameters p) {
  constexpr int tile = tile_side(kGroups), span = tile + kSide - 1, positions = kThreads / kGroups, runs = tile / kRun;
  const int columns = (p.width + tile - 1) / tile;
  const int top = blockIdx.x / columns * tile, left = blockIdx.x % columns * tile, image = blockIdx.z;
  const int position = threadIdx.x % positions, row = position / runs, column = position % runs * kRun;
  const int group = threadIdx.x / positions, first = blockIdx.y * kGroups * kOuts + group;
  float* values = shared_memory<float>();
  const float* weights[kOuts];
  for (int j = 0; j < kOuts; ++j) {
    const int o = first + j * kGroups;
    weights[j] = p.weight + int64_t{o < p.outs ? o : 0} * p.in * kSide * kSide;
  }
  float sums[kOuts][kRun] = {};
  for (int start = 0; start < p.in; start += kChannels) {
    const int count = p.in - start < kChannels ? p.in - start : kChannels;
    __syncthreads();
    for (int i = threadIdx.x; i < span * span * count; i += kThreads) {
      const int c = i % count, at = i / count, y = padded(top + at / span - kSide / 2, p.height, p.padding),
                x = padded(left + at % span - kSide / 2, p.width, p.padding);
      values[c * span * span + at] =
          y < 0 || x < 0 ? 0.0f : p.x[((int64_t{image} * p.height + y) * p.width + x) * p.in + start + c];
    }
    __syncthreads();
    for (int c = 0; c < count; ++c)
#pragma unroll 1
      for (int ky = 0; ky < kSide; ++ky) {
        float line[kRun + kSide - 1];
#pragma unroll
        for (int i = 0; i < kRun + kSide - 1; ++i) line[i] = values[(c * span + row + ky) * span + column + i];
        const int64_t tap = (int64_t{start + c} * kSide + ky) * kSide;
#pragma unroll
        for (int kx = 0; kx < kSide; ++kx)
#pragma unroll
          for (int j = 0; j < kOuts; ++j) {
            const float weight = weights[j][tap + kx];
#pragma unroll
            for (int i = 0; i < kRun; ++i) sums[j][i] += weight * line[kx + i];
          }
      }
  }
  // Through shared memory, so that neighbouring threads write neighbouring outputs.
  __syncthreads();
  for (int j = 0; j < kOuts; ++j)
    for (int i = 0; i < kRun; ++i)
      values[(row * tile + column + i) * kGroups * kOuts + group + j * kGroups] = sums[j][i];
  __syncthreads();
  for (int i = threadIdx.x; i < tile * tile * kGroups * kOuts; i += kThreads) {
    const int o = blockIdx.y * kGroups * kOuts + i % (kGroups * kOuts), at = i / (kGroups * kOuts), y = top + at / tile,
              x = left + at % tile;
    if (o >= p.outs || y >= p.height || x >= p.width) continue;
    const int64_t pixel = (int64_t{image} * p.height + y) * p.width + x;
    float sum = values[i] + p.bias[o];
    if (p.add) sum += p.add[pixel * p.outs + o];
    p.out[pixel * p.pitch + o] = p.sigmoid ? sigmoid(sum) : sum;
  }
}

template <int kGroups, int kSide>
void launch_convolution(Device& device, const ConvolutionParameters& p, int batch) {
  const unsigned tiles = blocks_for(p.height, tile_side(kGroups)) * blocks_for(p.width, tile_side(kGroups));
  launch(device, convolution_kernel<kGroups, kSide>,
         dim3(tiles, blocks_for(p.outs, kGroups * kOuts), static_cast<unsigned>(batch)), kThreads,
         shared_floats(kGroups, kSide) * sizeof(float), p);
}

template <int kSide>
void launch_convolution(Device& device, const ConvolutionParameters& p, int batch) {
  if (p.outs <= kOuts) return launch_convolution<1, kSide>(device, p, batch);
  if (p.outs <= 4 * kOuts) return launch_convolution<4, kSide>(device, p, batch);
  launch_convolution<16, kSide>(device, p, batch);
}

}  // namespace

void CudaOps::convolution(const ConvolutionArgs& args) {
  const ConvolutionParameters p{args.x.data,       args.weight,
                                args.bias,         args.add,
                                args.out.data,     args.x.height,
                                args.x.width,      args.x.channels,
                                args.out.channels, args.out_pitch ? args.out_pitch : args.out.channels,
                                args.padding,      args.sigmoid};
  switch (args.kernel) {
    case 3:
      return launch_convolution<3>(*device_, p, args.x.batch);
    case 5:
      return launch_convolution<5>(*device_, p, args.x.batch);
    case 7:
      return launch_convolution<7>(*device_, p, args.x.batch);
    case 11:
      return launch_convolution<11>(*device_, p, args.x.batch);
    default:
      device_->keep(
          Error{ErrorCode::internal, "CUDA: convolution: no kernel of side " + std::to_string(args.kernel) + "."});
  }
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
