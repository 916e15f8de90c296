// The MLP with its LayerNorm, residual and sums: a tile of tokens from its pixels to its pixels.
#include <algorithm>

#include "ops/cuda/cuda_ops.h"
#include "ops/cuda/tensor_tile.cuh"
#include "ops/cuda/tokens.cuh"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

namespace {

constexpr int kTokens = 32;
using MlpTile = Tile<kTokens>;

struct MlpParameters {
  const float* x;
  MlpWeights weights;
  int channels;
  int64_t pixels, area;  // area of one image
  bool residual;
  const float *add, *keep;
  float* out;
};

/// In place is allowed: a block reads its pixels before it writes them.
__global__ void __launch_bounds__(MlpTile::kThreads) mlp_kernel(MlpParameters p) {
  const int channels = p.channels, hidden = p.weights.hidden;
  float *y = shared_memory<float>(), *inner = y + channels * MlpTile::kPitch;
  const int64_t first = int64_t{blockIdx.x} * kTokens;
  MlpTile::load([&](int t) { return first + t < p.pixels ? p.x + (first + t) * channels : nullptr; }, channels,
                p.weights.norm, y);
  __syncthreads();
  MlpTile::multiply(y, channels, p.weights.fc1_weight, channels, hidden, [&](int o, int t, float4 sum) {
    const float bias = p.weights.fc1_bias[o];
    MlpTile::put(inner, o, t,
                 make_float4(gelu(sum.x + bias), gelu(sum.y + bias), gelu(sum.z + bias), gelu(sum.w + bias)));
  });
  __syncthreads();
  MlpTile::multiply(inner, hidden, p.weights.fc2_weight, hidden, channels, [&](int o, int t, float4 sum) {
    const float bias = p.weights.fc2_bias[o];
    MlpTile::put(y, o, t, make_float4(sum.x + bias, sum.y + bias, sum.z + bias, sum.w + bias));
  });
  __syncthreads();
  MlpTile::each(y, channels, [&](int t, int c, float value) {
    if (first + t >= p.pixels) return;
    const int64_t at = (first + t) * channels + c;
    if (p.keep) value *= p.keep[(first + t) / p.area];
    if (p.residual) value += p.x[at];
    if (p.add) value += p.add[at];
    p.out[at] = value;
  });
}

constexpr int kTensorThreads = 256;

/// Where the weights lie in shared memory, in bytes.
struct MlpLayout {
  int fc1, fc2, fc1_bias, fc2_bias;
  int64_t bytes;
  constexpr MlpLayout(int channels, int hidden) {
    const int c16 = units(channels), h16 = units(hidden);
    fc1 = 0;
    fc2 = fc1 + static_cast<int>(weight_bytes(h16, c16));
    fc1_bias = fc2 + static_cast<int>(weight_bytes(c16, h16));
    fc2_bias = fc1_bias + 64 * h16;
    bytes = fc2_bias + 64 * c16;
  }
};

/// The same on tensor cores: a warp takes 16 tokens after another, a block keeps the weights.
template <int c16>
__global__ void __launch_bounds__(kTensorThreads, 2) mlp_tensor_kernel(MlpParameters p) {
  const int channels = p.channels, hidden = p.weights.hidden, lane = threadIdx.x % kWarp;
  const MlpLayout layout(channels, hidden);
  stage_matrix(p.weights.fc1_weight, hidden, channels, shared_memory<uint16_t>(layout.fc1));
  stage_matrix(p.weights.fc2_weight, channels, hidden, shared_memory<uint16_t>(layout.fc2));
  stage_vector(p.weights.fc1_bias, hidden, shared_memory<float>(layout.fc1_bias));
  stage_vector(p.weights.fc2_bias, channels, shared_memory<float>(layout.fc2_bias));
  const float* fc2_bias = shared_memory<float>(layout.fc2_bias);
  __syncthreads();
  const int64_t step = int64_t{gridDim.x} * kTensorThreads / 2;
  for (int64_t first = (int64_t{blockIdx.x} * kTensorThreads + threadIdx.x) / kWarp * kTensorTokens; first < p.pixels;
       first += step) {
    const int64_t pixels[2] = {first + lane / 4, first + lane / 4 + 8};
    const auto rows = [&](auto* base, auto*(&to)[2]) {
      for (int half = 0; half < 2; ++half)
        to[half] = base && pixels[half] < p.pixels ? base + pixels[half] * channels : nullptr;
    };
    const float *from[2], *added[2];
    float* to[2];
    rows(p.x, from);
    rows(p.add, added);
    rows(p.out, to);
    Tokens<c16> x, sums;
    sums.load(from, channels);
    if (p.weights.norm.gain) sums.normalise(p.weights.norm, channels);
    uint32_t factors[c16][4];
    as_factors(sums, factors);
    sums.clear();
    multiply_mlp<c16>(factors, shared_memory<uint16_t>(layout.fc1), shared_memory<float>(layout.fc1_bias),
                      shared_memory<uint16_t>(layout.fc2), units(hidden), sums);
    float keep[2] = {1, 1};
    if (p.keep)
      for (int half = 0; half < 2; ++half)
        if (to[half]) keep[half] = p.keep[pixels[half] / p.area];
    sums.each([&](int c, int half, float& value) { value = keep[half] * (value + fc2_bias[c]); });
    const auto plus = [&](const Tokens<c16>& other) {
#pragma unroll
      for (int n = 0; n < 2 * c16; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) sums.at[n][i] += other.at[n][i];
    };
    if (p.residual) {  // x again: it is still in a cache, and registers are scarce
      x.load(from, channels);
      plus(x);
    }
    if (p.add) {
      x.load(added, channels);
      plus(x);
    }
    sums.store(to, channels);
  }
}

/// Queues it. False: these widths, or this device's shared memory, do not allow it.
bool launch_tensor_mlp(Device& device, const MlpParameters& p) {
  const MlpLayout layout(p.channels, p.weights.hidden);
  if (p.channels < 8 || p.channels > 64 || layout.bytes > static_cast<int64_t>(device.shared_bytes())) return false;
  const auto run = [&](auto kernel) {
    const int64_t blocks =
        std::min<int64_t>(blocks_for(p.pixels, kTensorThreads / 2), int64_t{2} * device.processors());
    launch(device, kernel, static_cast<unsigned>(blocks), kTensorThreads, layout.bytes, p);
  };
  switch (units(p.channels)) {
    case 1:
      run(mlp_tensor_kernel<1>);
      break;
    case 2:
      run(mlp_tensor_kernel<2>);
      break;
    case 3:
      run(mlp_tensor_kernel<3>);
      break;
    default:
      run(mlp_tensor_kernel<4>);
      break;
  }
  return true;
}

}  // namespace

void CudaOps::mlp(const MlpArgs& args) {
  const MlpParameters p{
      args.x.data,   args.weights, args.x.channels, args.x.pixels(), int64_t{args.x.height} * args.x.width,
      args.residual, args.add,     args.keep,       args.out.data};
  if (tensor_cores_ && launch_tensor_mlp(*device_, p)) return;
  launch(*device_, mlp_kernel, blocks_for(p.pixels, kTokens), MlpTile::kThreads,
         MlpTile::bytes(p.channels + p.weights.hidden), p);
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
