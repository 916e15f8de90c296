// What a run takes to the device and brings back, on a stream beside the device's own, so that a run's copies hide
// behind another's kernels. It never ran on a GPU.
#pragma once

#include "ops/cuda/memory.h"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

class DeviceStaging final : public Staging {
 public:
  DeviceStaging(Device& device, DeviceMemory& memory) : device_(device), memory_(memory) {}
  ~DeviceStaging();

  bool fits(int64_t floats) const override;
  bool reserve(int64_t floats) override;
  float* data() const override { return data_; }
  int64_t bytes() const override { return capacity_ * static_cast<int64_t>(sizeof(float)); }
  void upload(const float* from, float* to, int64_t floats) override;
  void begin() override;
  void end() override;
  void download(const float* from, float* to, int64_t floats) override;
  Status status() override;

 private:
  /// The thread's device, and on the first call the stream and events. False: it has failed.
  bool ready();
  void keep(cudaError_t error, const char* what);
  void give_back();

  Device& device_;
  DeviceMemory& memory_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t uploaded_ = nullptr, used_ = nullptr;  // on the own stream; on the device's
  PinnedCopies copies_;
  float* data_ = nullptr;
  int64_t capacity_ = 0;
  std::optional<Error> error_;  // not the device's: another thread may have its turn there
};

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
