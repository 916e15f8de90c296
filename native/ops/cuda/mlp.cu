// The MLP with its LayerNorm, residual and sums: a tile of tokens from its pixels to its pixels.
#include "ops/cuda/cuda_ops.h"
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

}  // namespace

void CudaOps::mlp(const MlpArgs& args) {
  const MlpParameters p{
      args.x.data,   args.weights, args.x.channels, args.x.pixels(), int64_t{args.x.height} * args.x.width,
      args.residual, args.add,     args.keep,       args.out.data};
  launch(*device_, mlp_kernel, blocks_for(p.pixels, kTokens), MlpTile::kThreads,
         MlpTile::bytes(p.channels + p.weights.hidden), p);
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
