// What kernels on tensor cores share. A warp holds 16 tokens in registers as the instruction lays out its sums: of
// every eight channels lane l has those at 2 (l % 4) and the next, of tokens l / 4 and l / 4 + 8. So a LayerNorm is a
// sum over four lanes, and one product's sums are, rounded, the next one's factors: between products nothing is stored.
// Weights lie in shared memory as bfloat16, a row an output; rows and channels are padded to 16 there and nowhere else.
#pragma once

#include "ops/cuda/device.cuh"
#include "ops/ops.h"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

constexpr int kTensorTokens = 16;  // of a warp
/// Channels padded, in units of 16.
constexpr int units(int64_t channels) { return static_cast<int>((channels + 15) / 16); }
/// Values from row to row of weights: eight more than the channels, so that eight rows lie in different banks.
constexpr int weight_pitch(int k16) { return 16 * k16 + 8; }
constexpr int64_t weight_bytes(int rows16, int k16) { return int64_t{16} * rows16 * weight_pitch(k16) * 2; }

/// to[row][c] = source(row, c), rounded; all threads of the block.
template <typename Source>
__device__ __forceinline__ void stage_weights(int rows16, int k16, uint16_t* to, Source source) {
  const int columns = 16 * k16;
#pragma unroll 8
  for (int i = threadIdx.x; i < 16 * rows16 * columns; i += blockDim.x)
    to[i / columns * weight_pitch(k16) + i % columns] = to_bf16(source(i / columns, i % columns));
}
/// A matrix [outs][ins] as it is.
__device__ __forceinline__ void stage_matrix(const float* matrix, int outs, int ins, uint16_t* to) {
  stage_weights(units(outs), units(ins), to,
                [&](int o, int i) { return o < outs && i < ins ? matrix[int64_t{o} * ins + i] : 0.0f; });
}
/// `count` values and zeros up to a multiple of 16.
__device__ __forceinline__ void stage_vector(const float* from, int count, float* to) {
  for (int i = threadIdx.x; i < 16 * units(count); i += blockDim.x) to[i] = i < count ? from[i] : 0.0f;
}

/// 16 tokens of 16 k16 channels: sums, and rounded as factors.
template <int k16>
struct Tokens {
  float at[2 * k16][4];  // [eight channels][this token's two channels, then those of the token eight further]

  /// rows[0] and rows[1]: this lane's two tokens, null outside of the image; there, and beyond the channels, zeros.
  __device__ __forceinline__ void load(const float* const (&rows)[2], int channels) {
    const int first = threadIdx.x % 4 * 2;
#pragma unroll
    for (int n = 0; n < 2 * k16; ++n)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float2 pair = load_pair(rows[half], n * 8 + first, channels);
        at[n][2 * half] = pair.x;
        at[n][2 * half + 1] = pair.y;
      }
  }
  __device__ __forceinline__ void store(float* const (&rows)[2], int channels) const {
    const int first = threadIdx.x % 4 * 2;
#pragma unroll
    for (int n = 0; n < 2 * k16; ++n)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        store_pair(rows[half], n * 8 + first, channels, make_float2(at[n][2 * half], at[n][2 * half + 1]));
  }
  /// visit(channel, half, value&) for every value this lane holds, those beyond the channels too.
  template <typename Visit>
  __device__ __forceinline__ void each(Visit visit) {
    const int first = threadIdx.x % 4 * 2;
#pragma unroll
    for (int n = 0; n < 2 * k16; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) visit(n * 8 + first + i % 2, i / 2, at[n][i]);
  }
  __device__ __forceinline__ void clear() {
    each([](int, int, float& value) { value = 0; });
  }
  /// LayerNorm; the channels beyond stay zeros.
  __device__ __forceinline__ void normalise(NormWeights norm, int channels) {
    float mean[2] = {}, squares[2] = {};
    each([&](int, int half, float& value) { mean[half] += value; });
    for (float& sum : mean) sum = lane_sum<4>(sum) / channels;
    each([&](int c, int half, float& value) {
      if (c < channels) squares[half] += (value - mean[half]) * (value - mean[half]);
    });
    for (float& sum : squares) sum = rsqrtf(lane_sum<4>(sum) / channels + kNormEpsilon);
    each([&](int c, int half, float& value) {
      value = c < channels ? (value - mean[half]) * squares[half] * norm.gain[c] + norm.bias[c] : 0.0f;
    });
  }

  static __device__ __forceinline__ float2 load_pair(const float* row, int c, int channels) {
    if (!row || c >= channels) return make_float2(0, 0);
    if (channels % 2 == 0) return *reinterpret_cast<const float2*>(row + c);
    return make_float2(row[c], c + 1 < channels ? row[c + 1] : 0.0f);
  }
  static __device__ __forceinline__ void store_pair(float* row, int c, int channels, float2 pair) {
    if (!row || c >= channels) return;
    if (channels % 2 == 0) {
      *reinterpret_cast<float2*>(row + c) = pair;
    } else {
      row[c] = pair.x;
      if (c + 1 < channels) row[c + 1] = pair.y;
    }
  }
};

/// The factors of a product over 16 channels: those of two neighbouring eights of sums.
__device__ __forceinline__ void as_factors(const float (&low)[4], const float (&high)[4], uint32_t (&to)[4]) {
  to[0] = pack_bf16(low[0], low[1]);
  to[1] = pack_bf16(low[2], low[3]);
  to[2] = pack_bf16(high[0], high[1]);
  to[3] = pack_bf16(high[2], high[3]);
}
template <int k16>
__device__ __forceinline__ void as_factors(const Tokens<k16>& tokens, uint32_t (&to)[k16][4]) {
#pragma unroll
  for (int k = 0; k < k16; ++k) as_factors(tokens.at[2 * k], tokens.at[2 * k + 1], to[k]);
}

/// sums[n] += factors times rows 8 n .. of `weights`, at its channels k, k + 1 .. k + 15.
template <int n8>
__device__ __forceinline__ void multiply_rows(const uint32_t (&factors)[4], const uint16_t* weights, int pitch, int k,
                                              float (&sums)[n8][4]) {
  const int lane = threadIdx.x % kWarp;
  const uint16_t* row = weights + (lane / 16 * 8 + lane % 8) * pitch + k + lane / 8 % 2 * 8;
#pragma unroll
  for (int n = 0; n < n8; n += 2) {
    uint32_t b[4];
    load_matrices(row + n * 8 * pitch, b);
    const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
    multiply_add(sums[n], factors, low);
    multiply_add(sums[n + 1], factors, high);
  }
}

/// sums += the MLP's second layer of the activation of its first, hidden values sixteen at a time and never stored.
/// fc1 has units(hidden) times 16 rows, its bias as many values.
template <int c16>
__device__ __forceinline__ void multiply_mlp(const uint32_t (&factors)[c16][4], const uint16_t* fc1,
                                             const float* fc1_bias, const uint16_t* fc2, int hidden16,
                                             Tokens<c16>& sums) {
  const int first = threadIdx.x % 4 * 2;
#pragma unroll 1
  for (int j = 0; j < hidden16; ++j) {
    float inner[2][4] = {};
#pragma unroll
    for (int k = 0; k < c16; ++k)
      multiply_rows<2>(factors[k], fc1 + 16 * j * weight_pitch(c16), weight_pitch(c16), 16 * k, inner);
#pragma unroll
    for (int n = 0; n < 2; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) inner[n][i] = gelu(inner[n][i] + fc1_bias[16 * j + 8 * n + first + i % 2]);
    uint32_t active[4];
    as_factors(inner[0], inner[1], active);
    multiply_rows<2 * c16>(active, fc2, weight_pitch(hidden16), 16 * j, sums.at);
  }
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
