// The CUDA runtime's calls on host memory: what ops/cuda uses of them, and no more. What is queued on a stream is done
// as late as can be: when somebody waits for it, or something that waits for it is done. So a wait that is missing
// shows as numbers that are not there yet. Calls may come from several threads.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <tuple>
#include <utility>

#include "ops/cuda/shim/intrinsics.h"

enum cudaError_t {
  cudaSuccess,
  cudaErrorInvalidValue,
  cudaErrorMemoryAllocation,
  cudaErrorNoDevice,
  cudaErrorInvalidConfiguration,
  cudaErrorLaunchFailure,
  cudaErrorInvalidResourceHandle,
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice, cudaMemcpyDefault };
enum { cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2, cudaHostAllocDefault = 0 };
using cudaStream_t = struct ShimStream*;
using cudaEvent_t = struct ShimEvent*;

struct cudaDeviceProp {
  char name[256];
  int major, minor, multiProcessorCount;
  size_t totalGlobalMem, sharedMemPerBlockOptin;
};

namespace smhdr::cuda_shim {

/// What tests set: the device there is, and how much may be allocated.
struct Machine {
  int devices = 1;
  int major = 9, minor = 0, processors = 2;
  size_t shared_bytes = 232448;          // a block's most, as on compute capability 9.0
  size_t memory_left = size_t{4} << 30;  // allocations beyond it fail
  const char* last_failure = "";
};
inline Machine machine;

cudaError_t launch(std::function<void()> kernel, dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream);

}  // namespace smhdr::cuda_shim

cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes);
/// Filled with NaNs.
cudaError_t cudaMalloc(void** to, size_t bytes);
/// Waits for all that is queued.
cudaError_t cudaFree(void* memory);
cudaError_t cudaMallocHost(void** to, size_t bytes);
cudaError_t cudaFreeHost(void* memory);
/// Of the host's memory only what is pinned is copied later.
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
/// The first failure since the last wait for this stream.
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to);
cudaError_t cudaGetLastError();
const char* cudaGetErrorString(cudaError_t error);
