// CUDA's language for a plain C++ compiler: what kernels in ops/cuda use of it, and no more.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "ops/cuda/shim/block.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define threadIdx (::smhdr::cuda_shim::place.thread)
#define blockIdx (::smhdr::cuda_shim::place.block)
#define blockDim (::smhdr::cuda_shim::block_size)
#define gridDim (::smhdr::cuda_shim::grid_size)

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

inline void __syncthreads(smhdr::cuda_shim::Where where = smhdr::cuda_shim::Where::current()) {
  smhdr::cuda_shim::block_barrier(where);
}
inline void __syncwarp(unsigned mask = 0xffffffffu,
                       smhdr::cuda_shim::Where where = smhdr::cuda_shim::Where::current()) {
  smhdr::cuda_shim::warp_meet(
      mask, nullptr, [](void* const(&)[32], unsigned) {}, where);
}

namespace smhdr::cuda_shim {

template <typename T>
struct Shuffle {
  T value, result;
  int from;  // lane
};

template <typename T>
T shuffle(unsigned mask, T value, int from, Where where) {
  Shuffle<T> own{value, value, from};
  warp_meet(
      mask, &own,
      [](void* const(&given)[32], unsigned) {
        for (void* one : given) {
          if (!one) continue;
          auto& lane = *static_cast<Shuffle<T>*>(one);
          // The value of a lane that takes no part is undefined: NaN.
          if (given[lane.from])
            lane.result = static_cast<Shuffle<T>*>(given[lane.from])->value;
          else
            std::memset(&lane.result, 0xff, sizeof(T));
        }
      },
      where);
  return own.result;
}

inline int own_lane() {
  return static_cast<int>((threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) & 31);
}

}  // namespace smhdr::cuda_shim

template <typename T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32,
              smhdr::cuda_shim::Where where = smhdr::cuda_shim::Where::current()) {
  const int own = smhdr::cuda_shim::own_lane();
  return smhdr::cuda_shim::shuffle(mask, value, (own & ~(width - 1)) | (lane & (width - 1)), where);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int = 32,
                  smhdr::cuda_shim::Where where = smhdr::cuda_shim::Where::current()) {
  return smhdr::cuda_shim::shuffle(mask, value, smhdr::cuda_shim::own_lane() ^ bits, where);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, int by, int width = 32,
                   smhdr::cuda_shim::Where where = smhdr::cuda_shim::Where::current()) {
  const int own = smhdr::cuda_shim::own_lane(), to = own + by;
  return smhdr::cuda_shim::shuffle(mask, value, (own & (width - 1)) + by < width ? to : own, where);
}
inline unsigned __ballot_sync(unsigned mask, int predicate,
                              smhdr::cuda_shim::Where where = smhdr::cuda_shim::Where::current()) {
  unsigned own[2] = {predicate ? 1u : 0u, 0};
  smhdr::cuda_shim::warp_meet(
      mask, own,
      [](void* const(&given)[32], unsigned) {
        unsigned votes = 0;
        for (int lane = 0; lane < 32; ++lane)
          if (given[lane]) votes |= static_cast<unsigned*>(given[lane])[0] << lane;
        for (void* one : given)
          if (one) static_cast<unsigned*>(one)[1] = votes;
      },
      where);
  return own[1];
}

// Threads take turns: an addition is atomic as it stands.
template <typename T>
T atomicAdd(T* to, T value) {
  const T before = *to;
  *to += value;
  return before;
}
inline int atomicMax(int* to, int value) {
  const int before = *to;
  if (value > before) *to = value;
  return before;
}
inline void __threadfence() {}

template <typename T>
T __ldg(const T* from) {
  return *from;
}
inline float rsqrtf(float x) { return static_cast<float>(1 / std::sqrt(double(x))); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
