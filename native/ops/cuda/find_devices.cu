// Which devices there are, and why not.
#include "ops/cuda/runtime.h"
#include "ops/cuda_ops.h"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

namespace {

constexpr int kLeast = 75;

#if defined(__CUDACC__)
__global__ void nothing_kernel() {}
#endif

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string absence(cudaError_t error) {
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (driver == 0) return "no NVIDIA driver is installed";
  if (driver < runtime / 1000 * 1000)
    return "the NVIDIA driver is for CUDA " + version_text(driver) + "; this build needs one for CUDA " +
           std::to_string(runtime / 1000) + " or newer";
  return std::string("the driver finds no device: ") + cudaGetErrorString(error);
}

}  // namespace

Machine find_devices() {
  Machine machine;
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess) {
    machine.absence = absence(error);
    cudaGetLastError();
    return machine;
  }
  if (count == 0) machine.absence = "there is no NVIDIA device";
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties;
    DeviceFacts facts;
    if (const cudaError_t error = cudaGetDeviceProperties(&properties, i); error != cudaSuccess) {
      facts.name = "device " + std::to_string(i);
      facts.refusal = cudaGetErrorString(error);
      cudaGetLastError();
    } else {
      facts.name = properties.name;
      facts.capability = properties.major * 10 + properties.minor;
      facts.memory_bytes = static_cast<int64_t>(properties.totalGlobalMem);
      if (facts.capability < kLeast) facts.refusal = "compute capability 7.5 or newer is needed";
    }
#if defined(__CUDACC__)
    // Another process may have the device for itself, or this build have no kernels for it.
    cudaFuncAttributes attributes;
    if (facts.refusal.empty()) {
      cudaError_t error = cudaSetDevice(i);
      if (error == cudaSuccess) error = cudaFuncGetAttributes(&attributes, nothing_kernel);
      if (error != cudaSuccess) facts.refusal = cudaGetErrorString(error);
      cudaGetLastError();
    }
#endif
    machine.devices.push_back(std::move(facts));
  }
  return machine;
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
