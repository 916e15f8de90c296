// A device's memory for tensors: allocations are kept and given again.
#pragma once

#include <map>

#include "ops/cuda/runtime.h"
#include "ops/memory.h"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

/// Copies through two pinned pieces, so that the device copies one while the host fills or empties the other.
class PinnedCopies {
 public:
  PinnedCopies() = default;
  ~PinnedCopies();
  PinnedCopies(const PinnedCopies&) = delete;
  /// `from` may be changed or freed on return.
  cudaError_t upload(const void* from, void* to, size_t bytes, cudaStream_t queue);
  /// Waits for the copy. An error leaves `to` undefined.
  cudaError_t download(const float* from, float* to, int64_t floats, cudaStream_t queue);

 private:
  struct Piece {
    float* data = nullptr;
    cudaEvent_t copied = nullptr;
  };
  cudaError_t pin();

  Piece pieces_[2];
};

class DeviceMemory final : public Memory {
 public:
  explicit DeviceMemory(Device& device) : device_(device) {}
  ~DeviceMemory();

  void enter() override { device_.enter(); }
  float* allocate(int64_t floats) override;
  void release(float* data) override;
  void upload(const float* from, float* to, int64_t floats) override {
    upload_bytes(from, to, static_cast<size_t>(floats) * sizeof(float));
  }
  void upload_bytes(const void* from, void* to, size_t bytes);
  void download(const float* from, float* to, int64_t floats) override;
  void copy(const float* from, float* to, int64_t floats) override;
  void fill(float* to, float value, int64_t floats) override;
  void fail_allocation() override;
  Status synchronize() override { return device_.synchronise(); }
  int64_t available() const override;
  std::unique_ptr<Staging> make_staging() override;
  /// Gives back what is kept to be given again.
  void free_unused();

 private:
  Device& device_;
  std::multimap<size_t, void*> unused_;  // by bytes
  std::map<void*, size_t> used_;
  size_t unused_bytes_ = 0;
  PinnedCopies copies_;
};

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
