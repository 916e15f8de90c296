// The MLP's gradients: one kernel takes a tile of tokens forward to its hidden values and back to norm(x), and leaves
// what the weights' outer products need.
#include "ops/cuda/gradients.cuh"
#include "ops/cuda/tokens.cuh"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

namespace {

constexpr int kTokens = 32;
using MlpTile = Tile<kTokens>;

struct MlpBackwardParameters {
  const float* x;
  MlpWeights weights;
  int channels;
  int64_t pixels, area;  // area of one image
  const float *keep, *grad_out;
  float *y, *active, *grad_hidden;  // [pixel][C], [pixel][hidden] twice; null: not wanted
  float* grad_y;                    // [pixel][C]
};

__global__ void __launch_bounds__(MlpTile::kThreads) mlp_backward_kernel(MlpBackwardParameters p) {
  constexpr int pitch = MlpTile::kPitch;
  const int channels = p.channels, hidden = p.weights.hidden;
  float *values = shared_memory<float>(), *inner = values + channels * pitch;
  const int64_t first = int64_t{blockIdx.x} * kTokens;
  const auto store = [&](const float* from, int width, float* to) {
    if (to)
      MlpTile::each(from, width, [&](int t, int c, float value) {
        if (first + t < p.pixels) to[(first + t) * width + c] = value;
      });
  };
  MlpTile::load([&](int t) { return first + t < p.pixels ? p.x + (first + t) * channels : nullptr; }, channels,
                p.weights.norm, values);
  __syncthreads();
  store(values, channels, p.y);
  MlpTile::multiply(values, channels, p.weights.fc1_weight, channels, hidden, [&](int o, int t, float4 sum) {
    const float bias = p.weights.fc1_bias[o];
    MlpTile::put(inner, o, t, make_float4(sum.x + bias, sum.y + bias, sum.z + bias, sum.w + bias));
  });
  __syncthreads();
  if (p.active)
    MlpTile::each(inner, hidden, [&](int t, int c, float value) {
      if (first + t < p.pixels) p.active[(first + t) * hidden + c] = gelu(value);
    });
  MlpTile::load([&](int t) { return first + t < p.pixels ? p.grad_out + (first + t) * channels : nullptr; }, channels,
                NormWeights{}, values);
  __syncthreads();
  MlpTile::multiply_transposed(values, channels, p.weights.fc2_weight, hidden, hidden, [&](int o, int t, float4 sum) {
    float* at = inner + o * pitch + t;
    const float sums[4] = {sum.x, sum.y, sum.z, sum.w};
    for (int i = 0; i < 4; ++i) {
      const int64_t pixel = first + t + i < p.pixels ? first + t + i : first;
      at[i] = sums[i] * (p.keep ? p.keep[pixel / p.area] : 1.0f) * gelu_slope(at[i]);
    }
  });
  __syncthreads();
  store(inner, hidden, p.grad_hidden);
  MlpTile::multiply_transposed(inner, hidden, p.weights.fc1_weight, channels, channels,
                               [&](int o, int t, float4 sum) { MlpTile::put(values, o, t, sum); });
  __syncthreads();
  store(values, channels, p.grad_y);
}

}  // namespace

void CudaOps::mlp_backward(const MlpBackwardArgs& args) {
  const MlpArgs& forward = args.forward;
  const MlpGradients& out = args.gradients;
  const int channels = forward.x.channels, hidden = forward.weights.hidden;
  const int64_t pixels = forward.x.pixels(), area = int64_t{forward.x.height} * forward.x.width;
  Scratch scratch(*device_);
  const MlpBackwardParameters p{forward.x.data,
                                forward.weights,
                                channels,
                                pixels,
                                area,
                                forward.keep,
                                args.grad_out.data,
                                out.fc1_weight ? scratch.take(pixels * channels) : nullptr,
                                out.fc2_weight ? scratch.take(pixels * hidden) : nullptr,
                                out.fc1_weight || out.fc1_bias ? scratch.take(pixels * hidden) : nullptr,
                                scratch.take(pixels * channels)};
  launch(*device_, mlp_backward_kernel, blocks_for(pixels, kTokens), MlpTile::kThreads,
         MlpTile::bytes(channels + hidden), p);
  add_outer(*device_, KeptValues{args.grad_out.data, channels, static_cast<int>(area), forward.keep}, channels,
            Values{p.active, hidden}, hidden, pixels, out.fc2_weight, out.fc2_bias);
  add_outer(*device_, Values{p.grad_hidden, hidden}, hidden, Values{p.y, channels}, channels, pixels, out.fc1_weight,
            out.fc1_bias);
  norm_backward(*device_, forward.x.data, forward.weights.norm, p.grad_y, out.norm,
                forward.residual ? args.grad_out.data : nullptr, channels, pixels, args.grad_x.data);
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
