#include <algorithm>

#include "ops/cuda/runtime.h"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

Error take_error(cudaError_t error, const char* what) {
  cudaGetLastError();
  return {error == cudaErrorMemoryAllocation ? ErrorCode::out_of_memory : ErrorCode::internal,
          std::string("CUDA, ") + what + ": " + cudaGetErrorString(error) + "."};
}

Result<std::unique_ptr<Device>> Device::open(int index) {
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess)
    return Error{ErrorCode::unsupported, std::string("CUDA: ") + cudaGetErrorString(error) + "."};
  if (index < 0 || index >= count)
    return Error{ErrorCode::unsupported,
                 "CUDA: device " + std::to_string(index) + " of " + std::to_string(count) + " asked for."};
  std::unique_ptr<Device> device(new Device);
  device->index_ = index;
  cudaDeviceProp properties;
  device->keep(cudaSetDevice(index), "set device");
  device->keep(cudaGetDeviceProperties(&properties, index), "device properties");
  device->keep(cudaStreamCreateWithFlags(&device->queue_, cudaStreamNonBlocking), "stream");
  if (device->failed()) return *device->error_;
  device->name_ = properties.name;
  device->capability_ = properties.major * 10 + properties.minor;
  device->processors_ = properties.multiProcessorCount;
  device->shared_bytes_ = properties.sharedMemPerBlockOptin;
  return Result<std::unique_ptr<Device>>(std::move(device));
}

Device::~Device() {
  release();
  if (queue_) cudaStreamDestroy(queue_);
}

void Device::keep(cudaError_t error, const char* what) {
  if (error != cudaSuccess) keep(take_error(error, what));
}

void Device::keep(Error error) {
  if (!error_) error_ = std::move(error);
}

void Device::keep_lack_of_shared_memory(size_t bytes) {
  keep(Error{ErrorCode::unsupported, name_ + " has " + std::to_string(shared_bytes_ >> 10) +
                                         " KiB of shared memory a block, and this network needs " +
                                         std::to_string((bytes + 1023) >> 10) + "; use a narrower one or the CPU."});
}

Status Device::synchronise() {
  keep(cudaStreamSynchronize(queue_), "kernels");
  const std::optional<Error> error = std::exchange(error_, std::nullopt);
  return error ? Status(*error) : Status();
}

void* Device::take(size_t bytes) {
  constexpr size_t kAlignment = 256, kLeast = size_t{1} << 20;
  bytes = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  for (; block_ < blocks_.size(); ++block_, offset_ = 0)
    if (offset_ + bytes <= blocks_[block_].size) {
      void* at = blocks_[block_].memory + offset_;
      offset_ += bytes;
      return at;
    }
  void* memory = nullptr;
  const size_t size = std::max(bytes, kLeast);
  if (!failed()) keep(cudaMalloc(&memory, size), "scratch memory");
  if (!memory) return nullptr;
  blocks_.push_back({static_cast<char*>(memory), size});
  offset_ = bytes;
  return memory;
}

void Device::rewind(size_t block, size_t offset) {
  block_ = block;
  offset_ = offset;
  // All is free again: the next op shall find one block that holds as much.
  if (block == 0 && offset == 0 && blocks_.size() > 1) {
    size_t total = 0;
    for (const Block& one : blocks_) total += one.size;
    release();
    void* memory = nullptr;
    if (cudaMalloc(&memory, total) == cudaSuccess)
      blocks_.push_back({static_cast<char*>(memory), total});
    else
      cudaGetLastError();
  }
}

void Device::release() {
  for (const Block& block : blocks_) cudaFree(block.memory);  // waits for what uses it
  blocks_.clear();
  block_ = offset_ = 0;
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
