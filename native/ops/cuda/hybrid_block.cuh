// The masked hybrid attention block on tensor cores: a warp takes 16 tokens of an 8x8 window, four warps the window.
// q, k and v, logits, softmax, the mix, the projection, the residual and, where it is asked for, the MLP with all that
// is added to it: x is read, the result is written, and only k and v pass through shared memory. Heads of up to 16
// channels are padded to 16. A block keeps the weights and takes one window after another.
#pragma once

#include "ops/cuda/tensor_tile.cuh"
#include "ops/cuda/tokens.cuh"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

constexpr int kWindowThreads = 4 * kWarp, kMostWindows = 3;  // at a time in a block
constexpr float kLog2E = 1.44269504f;
constexpr int kBiasRows = (2 * kWindow - 1) * (2 * kWindow - 1);

struct HybridParameters {
  const float* x;
  AttentionWeights attention;
  int channels;
  Windows windows;
  int64_t count;  // windows in all
  MaskMode mask_mode;
  const float *mask, *keep;
  MlpWeights mlp;  // with_mlp
  const float *mlp_keep, *add;
  float* out;
};

/// Where everything lies in shared memory, in bytes.
struct HybridLayout {
  int qkv, proj, fc1, fc2, qkv_bias, proj_bias, fc1_bias, fc2_bias, table, windows, window_bytes;

  constexpr HybridLayout(int channels, int heads, int hidden, bool with_mlp) {
    const int c16 = units(channels), h16 = with_mlp ? units(hidden) : 0, m16 = with_mlp ? c16 : 0;
    int64_t at = 0;
    const auto take = [&](int64_t bytes) {
      const int64_t here = at;
      at += (bytes + 15) / 16 * 16;
      return static_cast<int>(here);
    };
    qkv = take(weight_bytes(3 * heads, c16));
    proj = take(weight_bytes(c16, heads));
    fc1 = take(weight_bytes(h16, m16));
    fc2 = take(weight_bytes(m16, h16));
    qkv_bias = take(3 * heads * 64);
    proj_bias = take(c16 * 64);
    fc1_bias = take(h16 * 64);
    fc2_bias = take(m16 * 64);
    table = take(int64_t{heads} * kBiasRows * 4);
    windows = static_cast<int>(at);
    window_bytes = 2 * static_cast<int>(weight_bytes(kWindowTokens / 16, heads));  // k, then v
  }
  constexpr int64_t bytes(int windows_at_a_time) const { return windows + int64_t{windows_at_a_time} * window_bytes; }
};

template <int c16, bool with_mlp>
__device__ __forceinline__ void stage_hybrid(const HybridParameters& p, const HybridLayout& layout) {
  const int channels = p.channels, heads = p.attention.heads, depth = channels / heads;
  // Row 16 (which * heads + h) + d of the padded q, k and v is row (which * heads + h) * depth + d of the weights.
  stage_weights(3 * heads, c16, shared_memory<uint16_t>(layout.qkv), [&](int row, int c) {
    return row % 16 < depth && c < channels
               ? p.attention.qkv_weight[int64_t{row / 16 * depth + row % 16} * channels + c]
               : 0.0f;
  });
  float* bias = shared_memory<float>(layout.qkv_bias);
  for (int row = threadIdx.x; row < 48 * heads; row += blockDim.x)
    bias[row] = row % 16 < depth ? p.attention.qkv_bias[row / 16 * depth + row % 16] : 0.0f;
  stage_weights(c16, heads, shared_memory<uint16_t>(layout.proj), [&](int o, int c) {
    return o < channels && c % 16 < depth ? p.attention.proj_weight[int64_t{o} * channels + c / 16 * depth + c % 16]
                                          : 0.0f;
  });
  stage_vector(p.attention.proj_bias, channels, shared_memory<float>(layout.proj_bias));
  float* table = shared_memory<float>(layout.table);
  for (int i = threadIdx.x; i < heads * kBiasRows; i += blockDim.x)
    table[i] = p.attention.bias_table[i % kBiasRows * heads + i / kBiasRows] * kLog2E;
  if constexpr (with_mlp) {
    stage_matrix(p.mlp.fc1_weight, p.mlp.hidden, channels, shared_memory<uint16_t>(layout.fc1));
    stage_matrix(p.mlp.fc2_weight, channels, p.mlp.hidden, shared_memory<uint16_t>(layout.fc2));
    stage_vector(p.mlp.fc1_bias, p.mlp.hidden, shared_memory<float>(layout.fc1_bias));
    stage_vector(p.mlp.fc2_bias, channels, shared_memory<float>(layout.fc2_bias));
  }
}

/// norm(x) times the mask, of this lane's tokens at `pixels`.
template <int c16>
__device__ __forceinline__ void masked_tokens(const HybridParameters& p, const int64_t (&pixels)[2], bool inside,
                                              uint32_t (&factors)[c16][4]) {
  const float* const rows[2] = {inside ? p.x + pixels[0] * p.channels : nullptr,
                                inside ? p.x + pixels[1] * p.channels : nullptr};
  Tokens<c16> y;
  y.load(rows, p.channels);
  y.normalise(p.attention.norm, p.channels);
  if (p.mask_mode != MaskMode::none) {
    float mask[2] = {};
    if (p.mask_mode == MaskMode::map) {
      if (inside)
        for (int half = 0; half < 2; ++half) mask[half] = p.mask[pixels[half]];
    } else {
      y.each([&](int, int half, float& value) { mask[half] += value; });
      for (float& factor : mask) factor = sigmoid(lane_sum<4>(factor) / p.channels);
    }
    y.each([&](int, int half, float& value) { value *= mask[half]; });
  }
  as_factors(y, factors);
}

/// Sixteen rows of q, k or v of these tokens: the sums with their bias.
template <int c16>
__device__ __forceinline__ void head_rows(const uint32_t (&factors)[c16][4], const uint16_t* weights, const float* bias,
                                          float (&sums)[2][4]) {
  const int first = threadIdx.x % 4 * 2;
#pragma unroll
  for (int n = 0; n < 2; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) sums[n][i] = bias[8 * n + first + i % 2];
#pragma unroll
  for (int k = 0; k < c16; ++k) multiply_rows<2>(factors[k], weights, weight_pitch(c16), 16 * k, sums);
}

/// logits, in base 2, become those of the softmax, not divided; the two tokens' sums.
__device__ __forceinline__ void softmax_rows(float (&logits)[8][4], float (&sums)[2]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float top = -INFINITY;
#pragma unroll
    for (int n = 0; n < 8; ++n) top = fmaxf(top, fmaxf(logits[n][2 * half], logits[n][2 * half + 1]));
    top = lane_max<4>(top);
    float sum = 0;
#pragma unroll
    for (int n = 0; n < 8; ++n)
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; ++i) sum += logits[n][i] = exp2f(logits[n][i] - top);
    sums[half] = lane_sum<4>(sum);
  }
}

template <int c16, bool with_mlp>
__global__ void __launch_bounds__(kMostWindows* kWindowThreads) hybrid_kernel(HybridParameters p) {
  const int channels = p.channels, heads = p.attention.heads, depth = channels / heads;
  const HybridLayout layout(channels, heads, with_mlp ? p.mlp.hidden : 0, with_mlp);
  stage_hybrid<c16, with_mlp>(p, layout);
  const uint16_t *qkv = shared_memory<uint16_t>(layout.qkv), *proj = shared_memory<uint16_t>(layout.proj);
  const float *qkv_bias = shared_memory<float>(layout.qkv_bias), *proj_bias = shared_memory<float>(layout.proj_bias),
              *table = shared_memory<float>(layout.table);
  const int warp = threadIdx.x / kWarp % 4, lane = threadIdx.x % kWarp, at_a_time = blockDim.x / kWindowThreads,
            slot = threadIdx.x / kWindowThreads, token = warp * kTensorTokens + lane / 4, first = lane % 4 * 2;
  const int pitch = weight_pitch(heads), rows = weight_pitch(c16);
  uint16_t *keys = shared_memory<uint16_t>(layout.windows + slot * layout.window_bytes),
           *values = keys + kWindowTokens * pitch;
  const float scale = kLog2E * rsqrtf(static_cast<float>(depth));

  for (int64_t start = int64_t{blockIdx.x} * at_a_time; start < p.count; start += int64_t{gridDim.x} * at_a_time) {
    const int64_t window = start + slot;
    const bool inside = window < p.count;  // the others keep step at the barriers
    const int64_t pixels[2] = {inside ? p.windows.pixel(window, token) : 0,
                               inside ? p.windows.pixel(window, token + 8) : 0};
    uint32_t factors[c16][4];
    masked_tokens<c16>(p, pixels, inside, factors);
    __syncthreads();  // weights are there; nobody reads the last window's k and v any more
#pragma unroll 1
    for (int h = 0; h < heads; ++h)
#pragma unroll
      for (int which = 1; which < 3; ++which) {
        const int row = 16 * (which * heads + h);
        float sums[2][4];
        head_rows<c16>(factors, qkv + row * rows, qkv_bias + row, sums);
        uint16_t* to = (which == 1 ? keys : values) + token * pitch + 16 * h + first;
#pragma unroll
        for (int n = 0; n < 2; ++n)
#pragma unroll
          for (int half = 0; half < 2; ++half)
            *reinterpret_cast<uint32_t*>(to + half * 8 * pitch + 8 * n) =
                pack_bf16(sums[n][2 * half], sums[n][2 * half + 1]);
      }
    __syncthreads();

    Tokens<c16> sums;
    sums.clear();
#pragma unroll 1
    for (int h = 0; h < heads; ++h) {
      uint32_t query[4];
      {
        float q[2][4];
        head_rows<c16>(factors, qkv + 16 * h * rows, qkv_bias + 16 * h, q);
#pragma unroll
        for (int n = 0; n < 2; ++n)
#pragma unroll
          for (int i = 0; i < 4; ++i) q[n][i] *= scale;
        as_factors(q[0], q[1], query);
      }
      // A row of keys of the window is an eight of the logits: the bias's row follows from n, its column from the lane.
      float logits[8][4];
      const float* bias =
          table + h * kBiasRows + (2 * warp + kWindow - 1) * (2 * kWindow - 1) + lane / 4 - first + kWindow - 1;
#pragma unroll
      for (int n = 0; n < 8; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) logits[n][i] = bias[(i / 2 - n) * (2 * kWindow - 1) - i % 2];
      multiply_rows<8>(query, keys, pitch, 16 * h, logits);
      if (p.windows.shift && inside) {
#pragma unroll
        for (int n = 0; n < 8; ++n)
#pragma unroll
          for (int i = 0; i < 4; ++i)
            if (p.windows.parted(window, token + i / 2 * 8, n * 8 + first + i % 2)) logits[n][i] -= 100 * kLog2E;
      }
      float total[2], mixed[2][4] = {};
      softmax_rows(logits, total);
      // v lies by key: its rows are read transposed.
      const uint16_t* row = values + (lane / 8 % 2 * 8 + lane % 8) * pitch + 16 * h + lane / 16 * 8;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        uint32_t weights[4], b[4];
        as_factors(logits[2 * k], logits[2 * k + 1], weights);
        load_matrices_transposed(row + 16 * k * pitch, b);
        const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
        multiply_add(mixed[0], weights, low);
        multiply_add(mixed[1], weights, high);
      }
#pragma unroll
      for (int n = 0; n < 2; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) mixed[n][i] /= total[i / 2];
      uint32_t head[4];
      as_factors(mixed[0], mixed[1], head);
      multiply_rows<2 * c16>(head, proj, pitch, 16 * h, sums.at);
    }

    // x again, for the residual: it is still in a cache, and registers are scarce.
    const float* const from[2] = {inside ? p.x + pixels[0] * channels : nullptr,
                                  inside ? p.x + pixels[1] * channels : nullptr};
    float* const to[2] = {inside ? p.out + pixels[0] * channels : nullptr,
                          inside ? p.out + pixels[1] * channels : nullptr};
    const int64_t image = inside ? window / p.windows.count() : 0;
    const float keep = p.keep ? p.keep[image] : 1.0f;
    Tokens<c16> y;
    y.load(from, channels);
#pragma unroll
    for (int n = 0; n < 2 * c16; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) y.at[n][i] += keep * (sums.at[n][i] + proj_bias[8 * n + first + i % 2]);
    if constexpr (with_mlp) {
      sums = y;
      sums.normalise(p.mlp.norm, channels);
      as_factors(sums, factors);
      sums.clear();
      multiply_mlp<c16>(factors, shared_memory<uint16_t>(layout.fc1), shared_memory<float>(layout.fc1_bias),
                        shared_memory<uint16_t>(layout.fc2), units(p.mlp.hidden), sums);
      const float* fc2_bias = shared_memory<float>(layout.fc2_bias);
      const float mlp_keep = p.mlp_keep ? p.mlp_keep[image] : 1.0f;
      const float* const added[2] = {inside ? p.add + pixels[0] * channels : nullptr,
                                     inside ? p.add + pixels[1] * channels : nullptr};
      Tokens<c16> add;
      add.load(added, channels);
#pragma unroll
      for (int n = 0; n < 2 * c16; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          y.at[n][i] += mlp_keep * (sums.at[n][i] + fc2_bias[8 * n + first + i % 2]) + add.at[n][i];
    }
    y.store(to, channels);
  }
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
