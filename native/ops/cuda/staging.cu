#include "ops/cuda/staging.h"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

DeviceStaging::~DeviceStaging() {
  cudaSetDevice(device_.index());
  give_back();
  if (uploaded_) cudaEventDestroy(uploaded_);
  if (used_) cudaEventDestroy(used_);
  if (stream_) cudaStreamDestroy(stream_);
}

bool DeviceStaging::ready() {
  keep(cudaSetDevice(device_.index()), "set device");
  if (!stream_) keep(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "stream");
  for (cudaEvent_t* event : {&uploaded_, &used_})
    if (!*event) keep(cudaEventCreateWithFlags(event, cudaEventDisableTiming), "event");
  return !error_;
}

void DeviceStaging::keep(cudaError_t error, const char* what) {
  if (error != cudaSuccess && !error_) error_ = take_error(error, what);
}

Status DeviceStaging::status() {
  const std::optional<Error> error = std::exchange(error_, std::nullopt);
  return error ? Status(*error) : Status();
}

bool DeviceStaging::fits(int64_t floats) const { return floats <= capacity_ && floats >= capacity_ - capacity_ / 4; }

void DeviceStaging::give_back() {
  if (!data_) return;
  // What gets this memory next is queued on the device's stream, which does not wait for this one.
  keep(cudaStreamSynchronize(stream_), "copies");
  memory_.release(std::exchange(data_, nullptr));
  capacity_ = 0;
}

bool DeviceStaging::reserve(int64_t floats) {
  if (fits(floats)) return true;
  give_back();
  if (floats == 0 || !ready()) return floats == 0;
  data_ = memory_.allocate(floats);
  if (!data_) return false;
  capacity_ = floats;
  end();  // who had this memory before may still be at work
  return true;
}

void DeviceStaging::upload(const float* from, float* to, int64_t floats) {
  if (!ready()) return;
  keep(cudaStreamWaitEvent(stream_, used_, 0), "wait for the kernels");
  keep(copies_.upload(from, to, static_cast<size_t>(floats) * sizeof(float), stream_), "copy to the device");
}

void DeviceStaging::begin() {
  if (!ready()) return;
  keep(cudaEventRecord(uploaded_, stream_), "copy to the device");
  keep(cudaStreamWaitEvent(device_.queue(), uploaded_, 0), "wait for the copy");
}

void DeviceStaging::end() {
  if (stream_) keep(cudaEventRecord(used_, device_.queue()), "kernels");
}

void DeviceStaging::download(const float* from, float* to, int64_t floats) {
  if (!ready()) return;
  keep(cudaStreamWaitEvent(stream_, used_, 0), "wait for the kernels");
  keep(copies_.download(from, to, floats, stream_), "copy to the host");
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
