// What the directions of window attention in fp32 share: one 8x8 window in shared memory, its mask, the queries, keys
// and values of a head, and the softmax.
#pragma once

#include "ops/cuda/tokens.cuh"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

using WindowTile = Tile<kWindowTokens>;

struct WindowInput {
  const float* x;
  AttentionWeights weights;
  int channels;
  Windows windows;
  MaskMode mask_mode;
  const float* mask;
  explicit WindowInput(const AttentionArgs& args)
      : x(args.x.data),
        weights(args.weights),
        channels(args.x.channels),
        windows{args.x.height, args.x.width, args.shift},
        mask_mode(args.mask_mode),
        mask(args.mask) {}
};

/// y[c][t] times the mask's factor of token t, which is returned; four neighbouring threads have the same token.
__device__ __forceinline__ float apply_mask(const WindowInput& p, int64_t window, float* y) {
  if (p.mask_mode == MaskMode::none) return 1;
  const int t = threadIdx.x / 4, part = threadIdx.x % 4;
  float factor = 0;
  if (p.mask_mode == MaskMode::map) {
    factor = p.mask[p.windows.pixel(window, t)];
  } else {
    for (int c = part; c < p.channels; c += 4) factor += y[c * WindowTile::kPitch + t];
    factor = sigmoid(lane_sum<4>(factor) / p.channels);
  }
  for (int c = part; c < p.channels; c += 4) y[c * WindowTile::kPitch + t] *= factor;
  return factor;
}

/// Head h's rows of q (0), k (1) or v (2) of the masked y, times `factor`.
__device__ __forceinline__ void project_head(const WindowInput& p, const float* y, int which, int h, float factor,
                                             float* to) {
  const int depth = p.channels / p.weights.heads, first = which * p.channels + h * depth;
  WindowTile::multiply(y, p.channels, p.weights.qkv_weight + int64_t{first} * p.channels, p.channels, depth,
                       [&](int o, int t, float4 sum) {
                         const float bias = p.weights.qkv_bias[first + o];
                         WindowTile::put(to, o, t,
                                         make_float4((sum.x + bias) * factor, (sum.y + bias) * factor,
                                                     (sum.z + bias) * factor, (sum.w + bias) * factor));
                       });
}

/// emit(key, query, sum over d of left[d][query] right[d][key]) for this thread's 4 x 4 of all pairs.
template <typename Emit>
__device__ __forceinline__ void pairs(const float* left, const float* right, int depth, Emit emit) {
  const int query = threadIdx.x % WindowTile::kGroups * 4, key = threadIdx.x / WindowTile::kGroups * 4;
  float sums[4][4] = {};
  for (int d = 0; d < depth; ++d) {
    const float4 a = *reinterpret_cast<const float4*>(left + d * WindowTile::kPitch + query),
                 b = *reinterpret_cast<const float4*>(right + d * WindowTile::kPitch + key);
    const float as[4] = {a.x, a.y, a.z, a.w}, bs[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
    for (int j = 0; j < 4; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[j][i] += as[i] * bs[j];
  }
#pragma unroll
  for (int j = 0; j < 4; ++j)
#pragma unroll
    for (int i = 0; i < 4; ++i) emit(key + j, query + i, sums[j][i]);
}

/// The exponentials of head h's logits [key][query], from q, which is scaled, and k; waits. Returned: 1 / their sum for
/// the query threadIdx.x / 4.
__device__ __forceinline__ float attend(const WindowInput& p, int64_t window, int h, const float* q, const float* k,
                                        float* logits) {
  constexpr int pitch = WindowTile::kPitch;
  pairs(q, k, p.channels / p.weights.heads, [&](int key, int query, float sum) {
    const float logit = sum + p.weights.bias_table[bias_row(query, key) * p.weights.heads + h];
    logits[key * pitch + query] = p.windows.parted(window, query, key) ? logit - 100 : logit;
  });
  __syncthreads();
  const int query = threadIdx.x / 4, part = threadIdx.x % 4;
  float top = -INFINITY, total = 0;
  for (int key = part; key < kWindowTokens; key += 4) top = fmaxf(top, logits[key * pitch + query]);
  top = lane_max<4>(top);
  for (int key = part; key < kWindowTokens; key += 4) {
    float& at = logits[key * pitch + query];
    total += at = expf(at - top);
  }
  return 1.0f / lane_sum<4>(total);
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
