#include "ops/cuda/shim/runtime.h"

#include <chrono>
#include <cstdint>
#include <cstdio>

struct ShimStream {};
struct ShimEvent {
  std::chrono::steady_clock::time_point at;
};

namespace smhdr::cuda_shim {

cudaError_t launch(std::function<void()> kernel, dim3 grid, dim3 block, size_t shared_bytes) {
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > 1024 || block.z > 64 || grid.x == 0 || grid.y == 0 || grid.z == 0 ||
      grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535 || shared_bytes > machine.shared_bytes)
    return cudaErrorInvalidConfiguration;
  if (run_grid({grid.x, grid.y, grid.z}, {block.x, block.y, block.z}, int64_t(shared_bytes), kernel))
    return cudaSuccess;
  std::fprintf(stderr, "CUDA shim: %s\n", failure());
  return cudaErrorLaunchFailure;
}

}  // namespace smhdr::cuda_shim

using smhdr::cuda_shim::machine;

namespace {

/// The size, before every allocation.
constexpr size_t kHeader = 256;

cudaError_t allocate(void** to, size_t bytes, bool device) {
  *to = nullptr;
  if (device && bytes > machine.memory_left) return cudaErrorMemoryAllocation;
  void* memory = nullptr;
  if (posix_memalign(&memory, 256, bytes + kHeader)) return cudaErrorMemoryAllocation;
  *static_cast<size_t*>(memory) = bytes;
  *to = static_cast<char*>(memory) + kHeader;
  std::memset(*to, 0xff, bytes);
  if (device) machine.memory_left -= bytes;
  return cudaSuccess;
}

cudaError_t release(void* memory, bool device) {
  if (!memory) return cudaSuccess;
  char* start = static_cast<char*>(memory) - kHeader;
  if (device) machine.memory_left += *reinterpret_cast<size_t*>(start);
  std::free(start);
  return cudaSuccess;
}

}  // namespace

cudaError_t cudaDriverGetVersion(int* version) {
  *version = machine.devices ? 13000 : 0;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = machine.devices;
  return machine.devices ? cudaSuccess : cudaErrorNoDevice;
}
cudaError_t cudaSetDevice(int device) {
  return device >= 0 && device < machine.devices ? cudaSuccess : cudaErrorInvalidValue;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device < 0 || device >= machine.devices) return cudaErrorInvalidValue;
  *properties = {};
  std::strcpy(properties->name, "CUDA shim");
  properties->major = machine.major;
  properties->minor = machine.minor;
  properties->multiProcessorCount = machine.processors;
  properties->totalGlobalMem = machine.memory_left;
  properties->sharedMemPerBlockOptin = machine.shared_bytes;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  *free_bytes = *total_bytes = machine.memory_left;
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** to, size_t bytes) { return allocate(to, bytes, true); }
cudaError_t cudaFree(void* memory) { return release(memory, true); }
cudaError_t cudaMallocHost(void** to, size_t bytes) { return allocate(to, bytes, false); }
cudaError_t cudaFreeHost(void* memory) { return release(memory, false); }
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t) {
  std::memset(to, value, bytes);
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new ShimStream;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new ShimEvent;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  event->at = std::chrono::steady_clock::now();
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  *milliseconds = std::chrono::duration<float, std::milli>(to->at - from->at).count();
  return cudaSuccess;
}
cudaError_t cudaGetLastError() { return cudaSuccess; }
const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorLaunchFailure:
      return "unspecified launch failure";
  }
  return "unrecognized error code";
}
