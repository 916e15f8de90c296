// Convolutions in fp32 as implicit products: a block takes a tile of pixels and 4 kGroups outputs, a few input channels
// with their border at a time in shared memory; a thread four neighbouring pixels and four outputs.
#include <algorithm>

#include "ops/cuda/cuda_ops.h"
#include "ops/cuda/tensor_tile.cuh"

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

constexpr int kTensorThreads = 128, kTileRows = 8, kTileColumns = 16, kBorderColumns = kTileColumns + 2,
              kBorder = (kTileRows + 2) * kBorderColumns;

constexpr int64_t tensor_bytes(int in, int outs) {
  return weight_bytes(units(outs), 9 * units(in)) + int64_t{2} * kBorder * weight_pitch(units(in));
}

/// The 3x3 convolution on tensor cores: an implicit product of [pixels][taps and channels]. A block keeps the weights
/// and takes tiles of 8 x 16 pixels; a warp two rows of them, all outputs.
template <int o16>
__global__ void __launch_bounds__(kTensorThreads, 2) convolution_tensor_kernel(ConvolutionParameters p, int tiles) {
  const int in16 = units(p.in), rows = weight_pitch(9 * in16), pitch = weight_pitch(in16), lane = threadIdx.x % kWarp,
            warp = threadIdx.x / kWarp, first = lane % 4 * 2, columns = (p.width + kTileColumns - 1) / kTileColumns,
            across = columns * ((p.height + kTileRows - 1) / kTileRows);
  uint16_t *weights = shared_memory<uint16_t>(), *values = weights + 16 * o16 * rows;
  stage_weights(o16, 9 * in16, weights, [&](int o, int k) {
    const int tap = k / (16 * in16), i = k % (16 * in16);
    return o < p.outs && i < p.in ? p.weight[(int64_t{o} * p.in + i) * 9 + tap] : 0.0f;
  });
  // Where this lane reads its row of the first tap's factors: its pixel, and the lower or the upper eight channels.
  const uint16_t* row = values + (2 * warp * kBorderColumns + lane % 16) * pitch + lane / 16 * 8;
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const int image = tile / across, top = tile % across / columns * kTileRows, left = tile % columns * kTileColumns;
    __syncthreads();
    for (int i = threadIdx.x; i < kBorder * 8 * in16; i += kTensorThreads) {
      const int at = i / (8 * in16), c = i % (8 * in16) * 2,
                y = padded(top + at / kBorderColumns - 1, p.height, p.padding),
                x = padded(left + at % kBorderColumns - 1, p.width, p.padding);
      const float* from = y < 0 || x < 0 ? nullptr : p.x + ((int64_t{image} * p.height + y) * p.width + x) * p.in;
      const float2 pair = Tokens<1>::load_pair(from, c, p.in);
      *reinterpret_cast<uint32_t*>(values + at * pitch + c) = pack_bf16(pair.x, pair.y);
    }
    __syncthreads();
    Tokens<o16> sums[2];
    sums[0].clear();
    sums[1].clear();
#pragma unroll 1
    for (int tap = 0; tap < 9; ++tap)
#pragma unroll 1
      for (int k = 0; k < in16; ++k) {
        uint32_t factors[2][4];
        const uint16_t* here = row + (tap / 3 * kBorderColumns + tap % 3) * pitch + 16 * k;
        load_matrices(here, factors[0]);
        load_matrices(here + kBorderColumns * pitch, factors[1]);
        const uint16_t* from = weights + (lane / 16 * 8 + lane % 8) * rows + 16 * (tap * in16 + k) + lane / 8 % 2 * 8;
#pragma unroll
        for (int n = 0; n < 2 * o16; n += 2) {
          uint32_t b[4];
          load_matrices(from + n * 8 * rows, b);
          const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
#pragma unroll
          for (int line = 0; line < 2; ++line) {
            multiply_add(sums[line].at[n], factors[line], low);
            multiply_add(sums[line].at[n + 1], factors[line], high);
          }
        }
      }
#pragma unroll
    for (int line = 0; line < 2; ++line) {
      const int y = top + 2 * warp + line;
      const float* added[2];
      float* to[2];
      for (int half = 0; half < 2; ++half) {
        const int x = left + lane / 4 + 8 * half;
        const bool inside = y < p.height && x < p.width;
        const int64_t pixel = (int64_t{image} * p.height + y) * p.width + x;
        to[half] = inside ? p.out + pixel * p.pitch : nullptr;
        added[half] = inside && p.add ? p.add + pixel * p.outs : nullptr;
      }
#pragma unroll
      for (int n = 0; n < 2 * o16; ++n)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int o = 8 * n + first;
          const float2 bias = Tokens<1>::load_pair(p.bias, o, p.outs),
                       add = Tokens<1>::load_pair(added[half], o, p.outs);
          float2 sum =
              make_float2(sums[line].at[n][2 * half] + bias.x + add.x, sums[line].at[n][2 * half + 1] + bias.y + add.y);
          if (p.sigmoid) sum = make_float2(sigmoid(sum.x), sigmoid(sum.y));
          Tokens<1>::store_pair(to[half], o, p.outs, sum);
        }
    }
  }
}

/// Queues it. False: these widths, or this device's shared memory, do not allow it.
bool launch_tensor_convolution(Device& device, const ConvolutionParameters& p, int batch) {
  // Pairs of outputs are stored together: a slice of wider pixels may begin anywhere.
  if (p.outs > 64 || p.in > 64 || p.pitch != p.outs) return false;
  const int64_t bytes = tensor_bytes(p.in, p.outs);
  if (bytes > static_cast<int64_t>(device.shared_bytes())) return false;
  const int tiles = static_cast<int>(blocks_for(p.height, kTileRows) * blocks_for(p.width, kTileColumns)) * batch;
  const auto run = [&](auto kernel) {
    launch(device, kernel, static_cast<unsigned>(std::min(tiles, 2 * device.processors())), kTensorThreads, bytes, p,
           tiles);
  };
  switch (units(p.outs)) {
    case 1:
      run(convolution_tensor_kernel<1>);
      break;
    case 2:
      run(convolution_tensor_kernel<2>);
      break;
    case 3:
      run(convolution_tensor_kernel<3>);
      break;
    default:
      run(convolution_tensor_kernel<4>);
      break;
  }
  return true;
}

}  // namespace

void CudaOps::convolution(const ConvolutionArgs& args) {
  const ConvolutionParameters p{args.x.data,       args.weight,
                                args.bias,         args.add,
                                args.out.data,     args.x.height,
                                args.x.width,      args.x.channels,
                                args.out.channels, args.out_pitch ? args.out_pitch : args.out.channels,
                                args.padding,      args.sigmoid};
  if (tensor_cores_ && !args.exact && args.kernel == 3 && launch_tensor_convolution(*device_, p, args.x.batch)) return;
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
