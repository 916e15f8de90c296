// CUDA, or on a plain C++ compiler the shim that tests run kernels on (shim/), and the few device functions every
// kernel shares. Nothing else here includes either.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#define SMHDR_CUDA_TARGET gpu
#else
#include "ops/cuda/shim/runtime.h"
#include "ops/cuda/shim/tensor_core.h"
#define SMHDR_CUDA_TARGET shim
#endif

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

/// The block's dynamic shared memory, from byte `offset` on.
template <typename T>
__device__ __forceinline__ T* shared_memory(int64_t offset = 0) {
#if defined(__CUDACC__)
  extern __shared__ __align__(16) unsigned char memory[];
#else
  unsigned char* memory = smhdr::cuda_shim::block_memory;
#endif
  return reinterpret_cast<T*>(memory + offset);
}

/// The sum over `lanes` neighbouring lanes (a power of two), known to each of them.
template <int lanes = kWarp, typename T>
__device__ __forceinline__ T lane_sum(T value) {
#pragma unroll
  for (int step = lanes / 2; step > 0; step /= 2) value += __shfl_xor_sync(kAllLanes, value, step);
  return value;
}
template <int lanes = kWarp>
__device__ __forceinline__ float lane_max(float value) {
#pragma unroll
  for (int step = lanes / 2; step > 0; step /= 2) value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, step));
  return value;
}

__device__ __forceinline__ float gelu(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678f)); }
/// gelu's derivative.
__device__ __forceinline__ float gelu_slope(float x) {
  return 0.5f * (1.0f + erff(x * 0.70710678f)) + 0.39894228f * x * expf(-0.5f * x * x);
}
__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

/// Two values rounded to bfloat16, the first in the lower half.
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
#if defined(__CUDACC__)
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
#else
  return smhdr::cuda_shim::to_bf16(low) | uint32_t{smhdr::cuda_shim::to_bf16(high)} << 16;
#endif
}
__device__ __forceinline__ uint16_t to_bf16(float value) {
#if defined(__CUDACC__)
  return __bfloat16_as_ushort(__float2bfloat16_rn(value));
#else
  return smhdr::cuda_shim::to_bf16(value);
#endif
}

// Tensor cores: compute capability 8.0 and later. CudaOps launches no kernel that uses them on an older device.

/// d [16, 8] += a [16, 16] b [16, 8], bfloat16 factors, fp32 sums (mma.sync.m16n8k16). Lane l holds of d the rows l / 4
/// and l / 4 + 8, columns 2 (l % 4) and the next; the PTX manual has the rest.
__device__ __forceinline__ void multiply_add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if !defined(__CUDACC__)
  smhdr::cuda_shim::mma(d, a, b, std::source_location::current());
#elif __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  __trap();
#endif
}

/// Four 8x8 matrices of bfloat16 in shared memory (ldmatrix.x4): lane 8 m + r gives row r of matrix m, 16 bytes aligned
/// to 16; register m gets this lane's two values of matrix m.
__device__ __forceinline__ void load_matrices(const uint16_t* row, uint32_t (&to)[4]) {
#if !defined(__CUDACC__)
  smhdr::cuda_shim::load_matrices<false>(row, to, std::source_location::current());
#else
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
#endif
}
__device__ __forceinline__ void load_matrices_transposed(const uint16_t* row, uint32_t (&to)[4]) {
#if !defined(__CUDACC__)
  smhdr::cuda_shim::load_matrices<true>(row, to, std::source_location::current());
#else
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
#endif
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
