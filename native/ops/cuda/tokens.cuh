// What kernels in fp32 share: a tile of T tokens in shared memory, channel by channel (rows of T + 4 floats), is
// normalised, multiplied by weights, and stored again pixel by pixel.
#pragma once

#include "ops/cuda/device.cuh"
#include "ops/ops.h"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

/// Lanes that read one pixel together.
constexpr int kPixelLanes = 16;

/// Where the tokens of 8x8 windows lie.
struct Windows {
  int height, width, shift;
  __device__ __forceinline__ int columns() const { return width / kWindow; }
  __device__ __forceinline__ int count() const { return columns() * (height / kWindow); }
  __device__ __forceinline__ int64_t pixel(int64_t window, int token) const {
    const int64_t image = window / count();
    const int own = static_cast<int>(window % count());
    int y = own / columns() * kWindow + token / kWindow + shift,
        x = own % columns() * kWindow + token % kWindow + shift;
    y -= y >= height ? height : 0;
    x -= x >= width ? width : 0;
    return (image * height + y) * width + x;
  }
  /// Whether the shift mask parts two tokens: only inside the last windows, at their middle.
  __device__ __forceinline__ bool parted(int64_t window, int query, int key) const {
    if (!shift) return false;
    const int own = static_cast<int>(window % count());
    const bool right = own % columns() == columns() - 1, bottom = own / columns() == height / kWindow - 1;
    return (right && (query % kWindow < kShift) != (key % kWindow < kShift)) ||
           (bottom && (query / kWindow < kShift) != (key / kWindow < kShift));
  }
};

/// Mean and 1 / deviation of a pixel, by kPixelLanes lanes.
__device__ __forceinline__ float2 pixel_statistics(const float* in, int channels, int lane) {
  float sum = 0, squares = 0;
  for (int c = lane; c < channels; c += kPixelLanes) sum += in[c];
  const float mean = lane_sum<kPixelLanes>(sum) / channels;
  for (int c = lane; c < channels; c += kPixelLanes) squares += (in[c] - mean) * (in[c] - mean);
  return make_float2(mean, rsqrtf(lane_sum<kPixelLanes>(squares) / channels + kNormEpsilon));
}

template <int T>
struct Tile {
  static constexpr int kPitch = T + 4, kGroups = T / 4, kThreads = kGroups * 16;
  static constexpr int64_t bytes(int64_t channels) { return channels * kPitch * int64_t{sizeof(float)}; }

  /// to[c][t] = norm(source(t)[c]), zero where source(t) is null. norm.gain null: as it is. All threads of the block.
  template <typename Source>
  static __device__ __forceinline__ void load(Source source, int channels, NormWeights norm, float* to) {
    const int lane = threadIdx.x % kPixelLanes;
    for (int t = threadIdx.x / kPixelLanes; t < T; t += blockDim.x / kPixelLanes) {
      const float* in = source(t);
      const float2 s = norm.gain ? pixel_statistics(in ? in : norm.gain, channels, lane) : make_float2(0, 1);
      for (int c = lane; c < channels; c += kPixelLanes) {
        float value = in ? in[c] : 0.0f;
        if (in && norm.gain) value = (value - s.x) * s.y * norm.gain[c] + norm.bias[c];
        to[c * kPitch + t] = value;
      }
    }
  }

  /// emit(o, t, sums) with the sums over k of weight[o][k] a[k][t .. t + 3], for every o below `outs` and t.
  template <typename Emit>
  static __device__ __forceinline__ void multiply(const float* a, int inner, const float* weight, int pitch, int outs,
                                                  Emit emit) {
    products(
        a, inner, outs, [=](int o, int k) { return weight[int64_t{o} * pitch + k]; }, emit);
  }
  /// The same with the weights' columns: the sums over k of weight[k][o] a[k][t .. t + 3].
  template <typename Emit>
  static __device__ __forceinline__ void multiply_transposed(const float* a, int inner, const float* weight, int pitch,
                                                             int outs, Emit emit) {
    products(
        a, inner, outs, [=](int o, int k) { return weight[int64_t{k} * pitch + o]; }, emit);
  }
  static __device__ __forceinline__ void put(float* to, int row, int t, float4 value) {
    *reinterpret_cast<float4*>(to + row * kPitch + t) = value;
  }

  /// visit(t, c, value of from[c][t]): neighbouring threads get neighbouring channels.
  template <typename Visit>
  static __device__ __forceinline__ void each(const float* from, int channels, Visit visit) {
    for (int t = threadIdx.x / kPixelLanes; t < T; t += blockDim.x / kPixelLanes)
      for (int c = threadIdx.x % kPixelLanes; c < channels; c += kPixelLanes) visit(t, c, from[c * kPitch + t]);
  }

 private:
  /// Four outputs and four tokens a thread; weight(o, k).
  template <typename Weight, typename Emit>
  static __device__ __forceinline__ void products(const float* a, int inner, int outs, Weight weight, Emit emit) {
    const int t = threadIdx.x % kGroups * 4, step = blockDim.x / kGroups;
    for (int o = threadIdx.x / kGroups; o < outs; o += 4 * step) {
      int own[4];
      float sums[4][4] = {};
#pragma unroll
      for (int j = 0; j < 4; ++j) own[j] = o + j * step < outs ? o + j * step : o;
#pragma unroll 4
      for (int k = 0; k < inner; ++k) {
        const float4 v = *reinterpret_cast<const float4*>(a + k * kPitch + t);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const float w = weight(own[j], k);
          sums[j][0] += w * v.x;
          sums[j][1] += w * v.y;
          sums[j][2] += w * v.z;
          sums[j][3] += w * v.w;
        }
      }
#pragma unroll
      for (int j = 0; j < 4; ++j)
        if (o + j * step < outs) emit(o + j * step, t, make_float4(sums[j][0], sums[j][1], sums[j][2], sums[j][3]));
    }
  }
};

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
