// Masked window attention in fp32: a block takes one 8x8 window from its pixels to its pixels, head by head.
#include "ops/cuda/cuda_ops.h"
#include "ops/cuda/window.cuh"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

namespace {

struct AttentionParameters : WindowInput {
  const float* keep;
  float* out;
  explicit AttentionParameters(const AttentionArgs& args) : WindowInput(args), keep(args.keep), out(args.out.data) {}
};

__global__ void __launch_bounds__(WindowTile::kThreads) window_attention_kernel(AttentionParameters p) {
  constexpr int pitch = WindowTile::kPitch;
  const int channels = p.channels, heads = p.weights.heads, depth = channels / heads;
  const int64_t window = blockIdx.x;
  float *y = shared_memory<float>(), *mixed = y + channels * pitch, *q = mixed + channels * pitch,
        *k = q + depth * pitch, *v = k + depth * pitch, *logits = v + depth * pitch,
        *inverse = logits + kWindowTokens * pitch;
  WindowTile::load([&](int t) { return p.x + p.windows.pixel(window, t) * channels; }, channels, p.weights.norm, y);
  __syncthreads();
  apply_mask(p, window, y);
  __syncthreads();
  const float scale = rsqrtf(static_cast<float>(depth));
  for (int h = 0; h < heads; ++h) {
    project_head(p, y, 0, h, scale, q);
    project_head(p, y, 1, h, 1, k);
    project_head(p, y, 2, h, 1, v);
    __syncthreads();
    const float own = attend(p, window, h, q, k, logits);
    if (threadIdx.x % 4 == 0) inverse[threadIdx.x / 4] = own;
    __syncthreads();
    WindowTile::multiply(logits, kWindowTokens, v, pitch, depth, [&](int o, int t, float4 sum) {
      WindowTile::put(
          mixed, h * depth + o, t,
          make_float4(sum.x * inverse[t], sum.y * inverse[t + 1], sum.z * inverse[t + 2], sum.w * inverse[t + 3]));
    });
    __syncthreads();
  }
  WindowTile::multiply(mixed, channels, p.weights.proj_weight, channels, channels, [&](int o, int t, float4 sum) {
    const float bias = p.weights.proj_bias[o];
    WindowTile::put(y, o, t, make_float4(sum.x + bias, sum.y + bias, sum.z + bias, sum.w + bias));
  });
  __syncthreads();
  const float keep = p.keep ? p.keep[window / p.windows.count()] : 1.0f;
  WindowTile::each(y, channels, [&](int t, int c, float value) {
    const int64_t at = p.windows.pixel(window, t) * channels + c;
    p.out[at] = p.x[at] + value * keep;
  });
}

}  // namespace

void CudaOps::window_attention(const AttentionArgs& args) {
  if (tensor_attention(args)) return;
  const AttentionParameters p(args);
  const int64_t windows = args.x.pixels() / kWindowTokens, depth = args.x.channels / args.weights.heads;
  launch(*device_, window_attention_kernel, static_cast<unsigned>(windows), WindowTile::kThreads,
         WindowTile::bytes(2 * args.x.channels + 3 * depth + kWindowTokens) + kWindowTokens * sizeof(float), p);
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
