// Masked window attention in fp32: a block takes one 8x8 window from its pixels to its pixels, head by head.
#include "ops/cuda/cuda_ops.h"
#include "ops/cuda/tokens.cuh"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

namespace {

using WindowTile = Tile<kWindowTokens>;

struct AttentionParameters {
  const float* x;
  AttentionWeights weights;
  int channels;
  Windows windows;
  MaskMode mask_mode;
  const float *mask, *keep;
  float* out;
};

/// y[c][t] times the mask's factor of token t. Four threads a token.
__device__ void apply_mask(const AttentionParameters& p, int64_t window, float* y) {
  const int t = threadIdx.x / 4, part = threadIdx.x % 4;
  float factor = 0;
  if (p.mask_mode == MaskMode::map) {
    factor = p.mask[p.windows.pixel(window, t)];
  } else {
    for (int c = part; c < p.channels; c += 4) factor += y[c * WindowTile::kPitch + t];
    factor = sigmoid(lane_sum<4>(factor) / p.channels);
  }
  for (int c = part; c < p.channels; c += 4) y[c * WindowTile::kPitch + t] *= factor;
}

/// Softmax down the columns of logits [key][query], not divided: 1 / sum goes to `inverse`. Four threads a query.
__device__ void softmax(float* logits, float* inverse) {
  const int query = threadIdx.x / 4, part = threadIdx.x % 4;
  float top = -INFINITY, total = 0;
  for (int key = part; key < kWindowTokens; key += 4) top = fmaxf(top, logits[key * WindowTile::kPitch + query]);
  top = lane_max<4>(top);
  for (int key = part; key < kWindowTokens; key += 4) {
    float& at = logits[key * WindowTile::kPitch + query];
    total += at = expf(at - top);
  }
  total = lane_sum<4>(total);
  if (part == 0) inverse[query] = 1.0f / total;
}

__global__ void __launch_bounds__(WindowTile::kThreads) window_attention_kernel(AttentionParameters p) {
  constexpr int pitch = WindowTile::kPitch;
  const int channels = p.channels, heads = p.weights.heads, depth = channels / heads;
  const int64_t window = blockIdx.x;
  float *y = shared_memory<float>(), *mixed = y + channels * pitch, *q = mixed + channels * pitch,
        *k = q + depth * pitch, *v = k + depth * pitch, *logits = v + depth * pitch,
        *inverse = logits + kWindowTokens * pitch;
  WindowTile::load([&](int t) { return p.x + p.windows.pixel(window, t) * channels; }, channels, p.weights.norm, y);
  __syncthreads();
  if (p.mask_mode != MaskMode::none) {
    apply_mask(p, window, y);
    __syncthreads();
  }
  const float scale = rsqrtf(static_cast<float>(depth));
  for (int h = 0; h < heads; ++h) {
    for (int which = 0; which < 3; ++which) {
      float* to = which == 0 ? q : which == 1 ? k : v;
      const int first = which * channels + h * depth;
      const float factor = which == 0 ? scale : 1.0f;
      WindowTile::multiply(y, channels, p.weights.qkv_weight + int64_t{first} * channels, channels, depth,
                           [&](int o, int t, float4 sum) {
                             const float bias = p.weights.qkv_bias[first + o];
                             WindowTile::put(to, o, t,
                                             make_float4((sum.x + bias) * factor, (sum.y + bias) * factor,
                                                         (sum.z + bias) * factor, (sum.w + bias) * factor));
                           });
    }
    __syncthreads();
    const int query = threadIdx.x % WindowTile::kGroups * 4, key = threadIdx.x / WindowTile::kGroups * 4;
    float sums[4][4] = {};
    for (int d = 0; d < depth; ++d) {
      const float4 left = *reinterpret_cast<const float4*>(q + d * pitch + query);
      for (int j = 0; j < 4; ++j) {
        const float right = k[d * pitch + key + j];
        sums[j][0] += left.x * right;
        sums[j][1] += left.y * right;
        sums[j][2] += left.z * right;
        sums[j][3] += left.w * right;
      }
    }
    for (int j = 0; j < 4; ++j)
      for (int i = 0; i < 4; ++i) {
        float logit = sums[j][i] + p.weights.bias_table[bias_row(query + i, key + j) * heads + h];
        if (p.windows.parted(window, query + i, key + j)) logit -= 100;
        logits[(key + j) * pitch + query + i] = logit;
      }
    __syncthreads();
    softmax(logits, inverse);
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
  const AttentionParameters p{args.x.data,    args.weights, args.x.channels, {args.x.height, args.x.width, args.shift},
                              args.mask_mode, args.mask,    args.keep,       args.out.data};
  const int64_t windows = args.x.pixels() / kWindowTokens, depth = args.x.channels / args.weights.heads;
  launch(*device_, window_attention_kernel, static_cast<unsigned>(windows), WindowTile::kThreads,
         WindowTile::bytes(2 * args.x.channels + 3 * depth + kWindowTokens) + kWindowTokens * sizeof(float), p);
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
