// The local branch's gradients: back through the second convolution, then to f directly, through the channel gate's
// means and through the spatial gate's two planes, then through the first convolution and the norm.
#include "ops/cuda/gradients.cuh"
#include "ops/cuda/local_branch.cuh"
#include "ops/cuda/sums.cuh"
#include "ops/cuda/tokens.cuh"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

namespace {

constexpr int kMostParts = 128, kPixels = kThreads / kPixelLanes;

/// f times both gates.
struct GatedValues {
  const float *features, *gates, *spatial;
  int channels;
  int64_t area;
  __device__ __forceinline__ float operator()(int64_t pixel, int c) const {
    return features[pixel * channels + c] * (gates[pixel / area * channels + c] + spatial[pixel]);
  }
};
struct PlainValues {
  const float* data;
  int channels;
  __device__ __forceinline__ float operator()(int64_t pixel, int c) const { return data[pixel * channels + c]; }
};

/// The depthwise convolution of `values`: grad_in is its input's gradient, a part [C][9 taps, bias] those of its
/// weights. A block takes 16 channels, a thread one of them at a column.
template <typename Source>
__global__ void __launch_bounds__(kThreads)
    depthwise_backward_kernel(LocalParameters p, const float* grad_out, Source values, const float* weight,
                              int tiles_of_part, float* parts, float* grad_in) {
  float* grads = shared_memory<float>();  // [border place][16], at the end [column][16][10]
  const int lane = threadIdx.x % kPixelLanes, column = threadIdx.x / kPixelLanes, image = blockIdx.z,
            c = blockIdx.y * kPixelLanes + lane;
  const bool valid = c < p.channels;
  float taps[9], sums[10] = {};
#pragma unroll
  for (int i = 0; i < 9; ++i) taps[i] = valid ? weight[c * 9 + i] : 0.0f;
  const int first = blockIdx.x * tiles_of_part,
            last = first + tiles_of_part < p.tiles ? first + tiles_of_part : p.tiles;
  for (int tile = first; tile < last; ++tile) {
    __syncthreads();
    for (int at = column; at < kBorder; at += kColumns) {
      const int64_t pixel = p.border_pixel(image, tile, at);
      grads[at * kPixelLanes + lane] = valid && pixel >= 0 ? grad_out[pixel * p.channels + c] : 0.0f;
    }
    __syncthreads();
    const int x = p.left(tile) + column;
    if (!valid || x >= p.width) continue;
    float window[3][3] = {};
#pragma unroll
    for (int y = 0; y < kRows + 2; ++y) {
#pragma unroll
      for (int i = 0; i < 3; ++i) {
        window[0][i] = window[1][i];
        window[1][i] = window[2][i];
        window[2][i] = grads[(y * kSpan + column + i) * kPixelLanes + lane];
      }
      const int row = p.top(tile) + y - 2;
      if (y < 2 || row >= p.height) continue;
      const int64_t pixel = (int64_t{image} * p.height + row) * p.width + x;
      const float value = parts ? values(pixel, c) : 0.0f;
      float total = 0;
#pragma unroll
      for (int i = 0; i < 9; ++i) {
        total += taps[8 - i] * window[i / 3][i % 3];
        sums[8 - i] += value * window[i / 3][i % 3];
      }
      sums[9] += window[1][1];
      grad_in[pixel * p.channels + c] = total;
    }
  }
  if (!parts) return;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 10; ++i) grads[threadIdx.x * 10 + i] = sums[i];
  __syncthreads();
  float* part = parts + (int64_t{blockIdx.z} * gridDim.x + blockIdx.x) * p.channels * 10;
  for (int i = threadIdx.x; i < kPixelLanes * 10; i += kThreads) {
    const int own = blockIdx.y * kPixelLanes * 10 + i;
    if (own >= p.channels * 10) continue;
    float sum = 0;
    for (int r = 0; r < kColumns; ++r) sum += grads[r * kPixelLanes * 10 + i];
    part[own] = sum;
  }
}

struct DepthwiseAccumulators {
  float *weight, *bias;
  __device__ __forceinline__ float* operator()(int i) const {
    if (i % 10 == 9) return bias ? bias + i / 10 : nullptr;
    return weight ? weight + i / 10 * 9 + i % 10 : nullptr;
  }
};

template <typename Source>
void depthwise_backward(Device& device, const LocalParameters& p, int batch, const float* grad_out, Source values,
                        const float* weight, float* grad_weight, float* grad_bias, float* grad_in) {
  const bool wanted = grad_weight || grad_bias;
  const int tiles_of_part = static_cast<int>(share_of(p.tiles, 1, kMostParts));
  const unsigned parts = blocks_for(p.tiles, tiles_of_part), images = static_cast<unsigned>(batch);
  Scratch scratch(device);
  float* sums = wanted ? scratch.take(int64_t{10} * parts * images * p.channels) : nullptr;
  launch(device, depthwise_backward_kernel<Source>, dim3(parts, blocks_for(p.channels, kPixelLanes), images), kThreads,
         kBorder * kPixelLanes * sizeof(float), p, grad_out, values, weight, tiles_of_part, sums, grad_in);
  if (wanted) add_parts(device, sums, parts * images, 10 * p.channels, DepthwiseAccumulators{grad_weight, grad_bias});
}

/// The gradients of both gates from that of what they gate: of the spatial gate's logit at each pixel, and parts of the
/// channel gate's, [batch][parts][C].
__global__ void __launch_bounds__(kThreads) gates_backward_kernel(LocalParameters p, const float* grad_gated,
                                                                  int64_t share, float* grad_spatial, float* parts) {
  const int lane = threadIdx.x % kPixelLanes, row = threadIdx.x / kPixelLanes, channels = p.channels;
  float *sums = shared_memory<float>(), *own = sums + row * channels;  // [pixel of the block][C]
  for (int c = lane; c < channels; c += kPixelLanes) own[c] = 0;
  const int64_t area = int64_t{p.height} * p.width, image = blockIdx.y * area, first = blockIdx.x * share,
                last = first + share < area ? first + share : area;
  for (int64_t start = first; start < last; start += kPixels) {
    const bool inside = start + row < last;  // all lanes take part in the sums
    const int64_t pixel = image + start + row;
    float total = 0;
    for (int c = lane; inside && c < channels; c += kPixelLanes) {
      const float product = grad_gated[pixel * channels + c] * p.features[pixel * channels + c];
      own[c] += product;
      total += product;
    }
    total = lane_sum<kPixelLanes>(total);
    if (lane == 0 && inside) grad_spatial[pixel] = total * p.spatial[pixel] * (1.0f - p.spatial[pixel]);
  }
  __syncthreads();
  for (int c = threadIdx.x; c < channels; c += kThreads) {
    float sum = 0;
    for (int r = 0; r < kPixels; ++r) sum += sums[r * channels + c];
    parts[(int64_t{blockIdx.y} * gridDim.x + blockIdx.x) * channels + c] = sum;
  }
}

/// Back through the channel gate: one block an image. A part holds the image's gradients of channel2's bias and weight
/// and channel1's; grad_means is what every pixel of f gets.
__global__ void channel_gate_backward_kernel(LocalBranchWeights w, const double* means, const double* grad_gates,
                                             int channels, double area, float* parts, float* grad_means) {
  const int reduced = w.reduced, products = reduced * channels;
  double *inner = shared_memory<double>(), *grad_inner = inner + reduced, *slopes = grad_inner + reduced;
  means += int64_t{blockIdx.x} * channels;
  grad_gates += int64_t{blockIdx.x} * channels;
  float *bias2 = parts + int64_t{blockIdx.x} * (channels + reduced + 2 * products), *weight2 = bias2 + channels,
        *bias1 = weight2 + products, *weight1 = bias1 + reduced;
  channel_inner(w, means, channels, inner);
  for (int c = threadIdx.x; c < channels; c += blockDim.x) {
    const double gate = channel_gate(w, inner, c);
    slopes[c] = grad_gates[c] * 2 * gate * (1 - gate);
    bias2[c] = static_cast<float>(slopes[c]);
  }
  __syncthreads();
  for (int r = threadIdx.x; r < reduced; r += blockDim.x) {
    double sum = 0;
    if (inner[r] > 0)
      for (int c = 0; c < channels; ++c) sum += slopes[c] * w.channel2_weight[c * reduced + r];
    grad_inner[r] = sum;
    bias1[r] = static_cast<float>(sum);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < products; i += blockDim.x) {
    weight2[i] = static_cast<float>(slopes[i / reduced] * inner[i % reduced]);
    weight1[i] = static_cast<float>(grad_inner[i / channels] * means[i % channels]);
  }
  for (int c = threadIdx.x; c < channels; c += blockDim.x) {
    double sum = 0;
    for (int r = 0; r < reduced; ++r) sum += grad_inner[r] * w.channel1_weight[r * channels + c];
    grad_means[int64_t{blockIdx.x} * channels + c] = static_cast<float>(sum / area);
  }
}

/// Back through the 7x7 convolution: the planes' gradient, and a part [98 taps, bias] for every block.
__global__ void __launch_bounds__(kGateSide* kGateSide)
    spatial_gate_backward_kernel(LocalParameters p, const float* grad_spatial, float2* grad_planes, float* parts) {
  constexpr int size = kGateSpan * kGateSpan;
  float2* planes = shared_memory<float2>();
  float *grads = shared_memory<float>(size * sizeof(float2)), *taps = grads + size;
  const int columns = (p.width + kGateSide - 1) / kGateSide, top = blockIdx.x / columns * kGateSide,
            left = blockIdx.x % columns * kGateSide, row = threadIdx.x / kGateSide, column = threadIdx.x % kGateSide;
  const int64_t image = int64_t{blockIdx.y} * p.height * p.width;
  for (int i = threadIdx.x; i < size; i += kGateSide * kGateSide) {
    const int y = top + i / kGateSpan - 3, x = left + i % kGateSpan - 3;
    const bool inside = y >= 0 && y < p.height && x >= 0 && x < p.width;
    const int64_t pixel = image + int64_t{y} * p.width + x;
    planes[i] = inside ? p.planes[pixel] : make_float2(0, 0);
    grads[i] = inside ? grad_spatial[pixel] : 0.0f;
  }
  if (threadIdx.x < 98) taps[threadIdx.x] = p.weights.spatial_weight[threadIdx.x];
  __syncthreads();
  float2 sum = make_float2(0, 0);
  for (int ky = 0; ky < 7; ++ky)
#pragma unroll
    for (int kx = 0; kx < 7; ++kx) {
      const float grad = grads[(row + ky) * kGateSpan + column + kx];
      sum.x += grad * taps[48 - (ky * 7 + kx)];
      sum.y += grad * taps[97 - (ky * 7 + kx)];
    }
  if (top + row < p.height && left + column < p.width)
    grad_planes[image + int64_t{top + row} * p.width + left + column] = sum;
  const int own = threadIdx.x;
  if (!parts || own >= 99) return;
  const int dy = own % 49 / 7, dx = own % 7;
  float total = 0;
  for (int i = 0; i < kGateSide * kGateSide; ++i) {
    const int y = i / kGateSide, x = i % kGateSide;
    const float grad = grads[(y + 3) * kGateSpan + x + 3];  // zero outside
    const float2 value = planes[(y + dy) * kGateSpan + x + dx];
    total += own == 98 ? grad : grad * (own < 49 ? value.x : value.y);
  }
  parts[(int64_t{blockIdx.y} * gridDim.x + blockIdx.x) * 99 + own] = total;
}

/// grad, of what is gated, becomes that of f. Sixteen lanes a pixel.
__global__ void __launch_bounds__(kThreads)
    features_backward_kernel(LocalParameters p, int64_t pixels, const float* grad_means, const float2* grad_planes,
                             float* grad) {
  const int lane = threadIdx.x % kPixelLanes, channels = p.channels;
  const int64_t pixel = int64_t{blockIdx.x} * kPixels + threadIdx.x / kPixelLanes;
  const bool inside = pixel < pixels;  // all lanes take part in the search
  int top = channels;                  // the first channel that has the maximum
  for (int c = lane; inside && c < channels && top == channels; c += kPixelLanes)
    if (p.features[pixel * channels + c] == p.planes[pixel].y) top = c;
  for (int step = kPixelLanes / 2; step > 0; step /= 2) {
    const int other = __shfl_xor_sync(kAllLanes, top, step);
    if (other < top) top = other;
  }
  if (!inside) return;
  const int64_t image = pixel / (int64_t{p.height} * p.width) * channels;
  const float2 planes = grad_planes[pixel];
  for (int c = lane; c < channels; c += kPixelLanes) {
    float& at = grad[pixel * channels + c];
    float value = at * (p.gates[image + c] + p.spatial[pixel]) + grad_means[image + c] + planes.x / channels;
    if (c == top) value += planes.y;
    at = value;
  }
}

}  // namespace

void CudaOps::local_branch_backward(const LocalBranchBackwardArgs& args) {
  LocalBranchArgs forward = args.forward;
  forward.sums = nullptr;
  const LocalBranchGradients& out = args.gradients;
  const LocalBranchWeights& w = forward.weights;
  const int batch = forward.x.batch, channels = forward.x.channels, reduced = w.reduced;
  const int64_t pixels = forward.x.pixels(), area = pixels / batch;
  const unsigned images = static_cast<unsigned>(batch);
  Scratch scratch(*device_);
  const LocalParameters p = local_gates(*device_, scratch, forward);
  float* grad = scratch.take(pixels * channels);
  depthwise_backward(*device_, p, batch, args.grad_out.data,
                     GatedValues{p.features, p.gates, p.spatial, channels, area}, w.depthwise2_weight,
                     out.depthwise2_weight, out.depthwise2_bias, grad);

  float* grad_spatial = scratch.take(pixels);
  double* grad_gates = scratch.take<double>(int64_t{batch} * channels);
  {
    const int64_t share = share_of(area, kPixels, kMostParts);
    const unsigned parts = blocks_for(area, share);
    Scratch inner(*device_);
    float* sums = inner.take(int64_t{parts} * batch * channels);
    launch(*device_, gates_backward_kernel, dim3(parts, images), kThreads, kPixels * channels * sizeof(float), p, grad,
           share, grad_spatial, sums);
    sum_parts(*device_, sums, batch, parts, channels, Scaled{1, grad_gates, channels});
  }
  const int products = reduced * channels, gate_values = channels + reduced + 2 * products;
  float *gate_parts = scratch.take(int64_t{batch} * gate_values), *grad_means = scratch.take(int64_t{batch} * channels);
  launch(*device_, channel_gate_backward_kernel, images, 256, (2 * reduced + channels) * sizeof(double), w, p.means,
         grad_gates, channels, double(area), gate_parts, grad_means);
  if (out.channel1_weight || out.channel1_bias || out.channel2_weight || out.channel2_bias)
    add_parts(*device_, gate_parts, batch, gate_values,
              Accumulators<4>{{out.channel2_bias, out.channel2_weight, out.channel1_bias, out.channel1_weight},
                              {channels, products, reduced, products}});
  const unsigned tiles = blocks_for(p.height, kGateSide) * blocks_for(p.width, kGateSide);
  const bool wanted = out.spatial_weight || out.spatial_bias;
  float2* grad_planes = scratch.take<float2>(pixels);
  float* spatial_parts = wanted ? scratch.take(int64_t{99} * tiles * batch) : nullptr;
  launch(*device_, spatial_gate_backward_kernel, dim3(tiles, images), kGateSide * kGateSide,
         kGateSpan * kGateSpan * (sizeof(float2) + sizeof(float)) + 98 * sizeof(float), p, grad_spatial, grad_planes,
         spatial_parts);
  if (wanted)
    add_parts(*device_, spatial_parts, int64_t{tiles} * batch, 99,
              Accumulators<2>{{out.spatial_weight, out.spatial_bias}, {98, 1}});
  launch(*device_, features_backward_kernel, blocks_for(pixels, kPixels), kThreads, 0, p, pixels, grad_means,
         grad_planes, grad);

  float *grad_y = scratch.take(pixels * channels), *y = nullptr;
  if (out.depthwise1_weight) {
    y = scratch.take(pixels * channels);
    layer_norm(forward.x, w.norm, {y, batch, p.height, p.width, channels});
  }
  depthwise_backward(*device_, p, batch, grad, PlainValues{y ? y : grad, channels}, w.depthwise1_weight,
                     out.depthwise1_weight, out.depthwise1_bias, grad_y);
  norm_backward(*device_, p.x, w.norm, grad_y, out.norm, args.grad_x.data, channels, pixels, args.grad_x.data);
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
