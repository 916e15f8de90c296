// The host's side of a device: its queue, its errors, scratch memory for the length of an op, and launches.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "ops/cuda/device.cuh"
#include "smhdr/status.h"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

/// Takes the error from the runtime, so that the next call does not tell of it again.
Error take_error(cudaError_t error, const char* what);

class Device {
 public:
  /// `index` counts CUDA's devices. The error says what is missing.
  static Result<std::unique_ptr<Device>> open(int index);
  ~Device();
  Device(const Device&) = delete;

  /// What a thread calls before it uses the device.
  void enter() { keep(cudaSetDevice(index_), "set device"); }
  /// Frees what Scratch keeps; no Scratch may be in use.
  void free_scratch() {
    if (block_ == 0 && offset_ == 0) release();
  }
  int index() const { return index_; }
  /// Everything is queued here, in order, but the copies of a DeviceStaging.
  cudaStream_t queue() const { return queue_; }
  const std::string& name() const { return name_; }
  /// Compute capability, 90 for 9.0.
  int capability() const { return capability_; }
  int processors() const { return processors_; }
  /// The most shared memory a block may have.
  size_t shared_bytes() const { return shared_bytes_; }

  /// Keeps the first error; after one nothing is launched until synchronise() has told of it.
  void keep(cudaError_t error, const char* what);
  void keep(Error error);
  /// A kernel of this network needs more shared memory than the device has.
  void keep_lack_of_shared_memory(size_t bytes);
  bool failed() const { return error_.has_value(); }
  /// Waits for all that is queued; the first error since the last call.
  Status synchronise();

 private:
  friend class Scratch;
  Device() = default;
  struct Block {
    char* memory;
    size_t size;
  };
  void* take(size_t bytes);
  void rewind(size_t block, size_t offset);
  void release();

  cudaStream_t queue_ = nullptr;
  std::string name_;
  int index_ = 0, capability_ = 0, processors_ = 0;
  size_t shared_bytes_ = 0;
  std::optional<Error> error_;
  std::vector<Block> blocks_;
  size_t block_ = 0, offset_ = 0;  // where the next bytes are taken
};

/// Device memory until the end of its scope; work still queued may use it, for the next to take it is queued after.
class Scratch {
 public:
  explicit Scratch(Device& device) : device_(device), block_(device.block_), offset_(device.offset_) {}
  ~Scratch() { device_.rewind(block_, offset_); }
  Scratch(const Scratch&) = delete;
  /// `count` values, not initialised. Null where there is no memory: the device has then failed and launches nothing.
  template <typename T = float>
  T* take(int64_t count) {
    return static_cast<T*>(device_.take(static_cast<size_t>(count) * sizeof(T)));
  }

 private:
  Device& device_;
  const size_t block_, offset_;
};

/// Blocks of `size` that cover `count`.
inline unsigned blocks_for(int64_t count, int64_t size) { return static_cast<unsigned>((count + size - 1) / size); }

/// Queues `kernel`; an error is kept by the device. An empty grid is no error.
template <typename... Parameters, typename... Arguments>
void launch(Device& device, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
            Arguments&&... arguments) {
  if (device.failed() || grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  if (shared_bytes > device.shared_bytes()) return device.keep_lack_of_shared_memory(shared_bytes);
  std::tuple<Parameters...> values(static_cast<Parameters>(arguments)...);
#if defined(__CUDACC__)
  constexpr size_t kWithoutAsking = 48 << 10;
  const void* function = reinterpret_cast<const void*>(kernel);
  if (shared_bytes > kWithoutAsking)
    device.keep(
        cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)),
        "shared memory");
  std::apply(
      [&](auto&... each) {
        void* pointers[] = {static_cast<void*>(&each)..., nullptr};
        device.keep(cudaLaunchKernel(function, grid, block, pointers, shared_bytes, device.queue()), "launch");
      },
      values);
#else
  device.keep(smhdr::cuda_shim::launch([kernel, values] { std::apply(kernel, values); }, grid, block, shared_bytes,
                                       device.queue()),
              "launch");
#endif
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
