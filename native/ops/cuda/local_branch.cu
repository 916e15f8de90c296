// The local branch in four kernels: f and what its gates need of it, both gates, and the gated convolution.
// Convolutions run over tiles with a border of one pixel, sixteen lanes along the channels.
#include "ops/cuda/local_branch.cuh"
#include "ops/cuda/sums.cuh"
#include "ops/cuda/tokens.cuh"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

namespace {

constexpr int kMostParts = 1024;  // of a channel's sum

/// visit(row, value) of the depthwise convolution of `values` [border place][C] at this thread's column, channel c.
template <typename Visit>
__device__ __forceinline__ void depthwise_column(const float* values, int channels, const float* weight, float bias,
                                                 int c, Visit visit) {
  float taps[9], window[3][3] = {};
#pragma unroll
  for (int i = 0; i < 9; ++i) taps[i] = weight[c * 9 + i];
  const float* from = values + threadIdx.x / kPixelLanes * channels + c;
#pragma unroll
  for (int y = 0; y < kRows + 2; ++y) {
#pragma unroll
    for (int x = 0; x < 3; ++x) {
      window[0][x] = window[1][x];
      window[1][x] = window[2][x];
      window[2][x] = from[(y * kSpan + x) * channels];
    }
    if (y < 2) continue;
    float sum = bias;
#pragma unroll
    for (int i = 0; i < 9; ++i) sum += taps[i] * window[i / 3][i % 3];
    visit(y - 2, sum);
  }
}

/// f = depthwise1(norm(x)), its mean and maximum over the channels, and its sum over the part's tiles.
__global__ void __launch_bounds__(kThreads) features_kernel(LocalParameters p) {
  const int channels = p.channels, image = blockIdx.y, lane = threadIdx.x % kPixelLanes,
            column = threadIdx.x / kPixelLanes;
  float *values = shared_memory<float>(), *sums = values + kBorder * channels;  // sums: [16 columns][C]
  for (int c = lane; c < channels; c += kPixelLanes) sums[column * channels + c] = 0;
  const int first = blockIdx.x * p.tiles_of_part,
            last = first + p.tiles_of_part < p.tiles ? first + p.tiles_of_part : p.tiles;
  for (int tile = first; tile < last; ++tile) {
    __syncthreads();
    for (int start = 0; start < kBorder; start += kColumns) {  // all lanes take part in each pixel's sums
      const int at = start + column;
      const int64_t pixel = at < kBorder ? p.border_pixel(image, tile, at) : -1;
      const float* in = p.x + (pixel < 0 ? 0 : pixel) * channels;
      const float2 s = pixel_statistics(in, channels, lane);
      if (at >= kBorder) continue;
      for (int c = lane; c < channels; c += kPixelLanes)
        values[at * channels + c] =
            pixel < 0 ? 0.0f : (in[c] - s.x) * s.y * p.weights.norm.gain[c] + p.weights.norm.bias[c];
    }
    __syncthreads();
    float total[kRows] = {}, most[kRows];
    for (float& value : most) value = -INFINITY;
    const int x = p.left(tile) + column, rows = p.height - p.top(tile) < kRows ? p.height - p.top(tile) : kRows;
    const int64_t corner = (int64_t{image} * p.height + p.top(tile)) * p.width + x;
    if (x < p.width)
      for (int c = lane; c < channels; c += kPixelLanes) {
        float sum = 0;
        depthwise_column(values, channels, p.weights.depthwise1_weight, p.weights.depthwise1_bias[c], c,
                         [&](int row, float f) {
                           total[row] += f;
                           most[row] = fmaxf(most[row], f);
                           if (row >= rows) return;
                           sum += f;
                           p.features[(corner + int64_t{row} * p.width) * channels + c] = f;
                         });
        sums[column * channels + c] += sum;
      }
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
      const float mean = lane_sum<kPixelLanes>(total[row]) / channels, top = lane_max<kPixelLanes>(most[row]);
      if (lane == 0 && row < rows && x < p.width) p.planes[corner + int64_t{row} * p.width] = make_float2(mean, top);
    }
  }
  __syncthreads();
  for (int c = threadIdx.x; c < channels; c += kThreads) {
    float sum = 0;
    for (int i = 0; i < kColumns; ++i) sum += sums[i * channels + c];
    p.parts[(int64_t{image} * gridDim.x + blockIdx.x) * channels + c] = sum;
  }
}

/// sigmoid of the 7x7 convolution of the planes. A thread a pixel.
__global__ void __launch_bounds__(kGateSide* kGateSide) spatial_gate_kernel(LocalParameters p) {
  float2* values = shared_memory<float2>();
  float* taps = shared_memory<float>(kGateSpan * kGateSpan * sizeof(float2));
  const int columns = (p.width + kGateSide - 1) / kGateSide, top = blockIdx.x / columns * kGateSide,
            left = blockIdx.x % columns * kGateSide, row = threadIdx.x / kGateSide, column = threadIdx.x % kGateSide;
  const int64_t image = int64_t{blockIdx.y} * p.height * p.width;
  for (int i = threadIdx.x; i < kGateSpan * kGateSpan; i += kGateSide * kGateSide) {
    const int y = top + i / kGateSpan - 3, x = left + i % kGateSpan - 3;
    const bool inside = y >= 0 && y < p.height && x >= 0 && x < p.width;
    values[i] = inside ? p.planes[image + int64_t{y} * p.width + x] : make_float2(0, 0);
  }
  if (threadIdx.x < 98) taps[threadIdx.x] = p.weights.spatial_weight[threadIdx.x];
  __syncthreads();
  float sum = p.weights.spatial_bias[0];
  for (int ky = 0; ky < 7; ++ky)
#pragma unroll
    for (int kx = 0; kx < 7; ++kx) {
      const float2 value = values[(row + ky) * kGateSpan + column + kx];
      sum += taps[ky * 7 + kx] * value.x + taps[49 + ky * 7 + kx] * value.y;
    }
  if (top + row < p.height && left + column < p.width)
    p.spatial[image + int64_t{top + row} * p.width + left + column] = sigmoid(sum);
}

/// sigmoid(2 m) from the means of f. One block an image.
__global__ void channel_gate_kernel(LocalBranchWeights w, const double* means, int channels, float* gates) {
  double* inner = shared_memory<double>();
  channel_inner(w, means + int64_t{blockIdx.x} * channels, channels, inner);
  for (int c = threadIdx.x; c < channels; c += blockDim.x)
    gates[int64_t{blockIdx.x} * channels + c] = static_cast<float>(channel_gate(w, inner, c));
}

/// depthwise2(f (channel gate + spatial gate)).
__global__ void __launch_bounds__(kThreads) gated_kernel(LocalParameters p) {
  const int channels = p.channels, image = blockIdx.y, tile = blockIdx.x, lane = threadIdx.x % kPixelLanes,
            column = threadIdx.x / kPixelLanes;
  float* values = shared_memory<float>();
  const float* gates = p.gates + int64_t{image} * channels;
  for (int at = column; at < kBorder; at += kColumns) {
    const int64_t pixel = p.border_pixel(image, tile, at);
    for (int c = lane; c < channels; c += kPixelLanes)
      values[at * channels + c] = pixel < 0 ? 0.0f : p.features[pixel * channels + c] * (gates[c] + p.spatial[pixel]);
  }
  __syncthreads();
  const int x = p.left(tile) + column, rows = p.height - p.top(tile);
  if (x >= p.width) return;
  const int64_t corner = (int64_t{image} * p.height + p.top(tile)) * p.width + x;
  for (int c = lane; c < channels; c += kPixelLanes)
    depthwise_column(values, channels, p.weights.depthwise2_weight, p.weights.depthwise2_bias[c], c,
                     [&](int row, float value) {
                       if (row < rows) p.out[(corner + int64_t{row} * p.width) * channels + c] = value;
                     });
}

}  // namespace

LocalParameters local_gates(Device& device, Scratch& scratch, const LocalBranchArgs& args) {
  const int batch = args.x.batch, channels = args.x.channels;
  const int64_t pixels = args.x.pixels();
  LocalParameters p{};
  p.x = args.x.data;
  p.weights = args.weights;
  p.height = args.x.height;
  p.width = args.x.width;
  p.channels = channels;
  p.tiles = static_cast<int>(blocks_for(p.height, kRows) * blocks_for(p.width, kColumns));
  p.tiles_of_part = (p.tiles + kMostParts - 1) / kMostParts;
  const unsigned parts = blocks_for(p.tiles, p.tiles_of_part), images = static_cast<unsigned>(batch);
  p.features = scratch.take(args.x.size());
  p.parts = scratch.take(int64_t{batch} * parts * channels);
  p.planes = scratch.take<float2>(pixels);
  p.spatial = scratch.take(pixels);
  p.gates = scratch.take(int64_t{batch} * channels);
  p.means = scratch.take<double>(int64_t{batch} * channels);
  launch(device, features_kernel, dim3(parts, images), kThreads,
         local_border_bytes(channels) + size_t(kColumns) * channels * sizeof(float), p);
  sum_parts(device, p.parts, batch, parts, channels, Scaled{1.0 / (double(p.height) * p.width), p.means, channels});
  share_sums(device, args.sums, batch, channels, p.means);
  launch(device, channel_gate_kernel, images, 128, args.weights.reduced * sizeof(double), args.weights, p.means,
         channels, p.gates);
  launch(device, spatial_gate_kernel, dim3(blocks_for(p.height, kGateSide) * blocks_for(p.width, kGateSide), images),
         kGateSide * kGateSide, kGateSpan * kGateSpan * sizeof(float2) + 98 * sizeof(float), p);
  return p;
}

void CudaOps::local_branch(const LocalBranchArgs& args) {
  Scratch scratch(*device_);
  LocalParameters p = local_gates(*device_, scratch, args);
  p.out = args.out.data;
  launch(*device_, gated_kernel, dim3(static_cast<unsigned>(p.tiles), static_cast<unsigned>(args.x.batch)), kThreads,
         local_border_bytes(p.channels), p);
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
