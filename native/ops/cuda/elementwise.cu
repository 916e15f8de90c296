// What touches each value once: copies, sums, the folding of exposures. All run at the memory's speed.
#include "ops/cuda/cuda_ops.h"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

namespace {

constexpr int kThreads = 256;

/// A thread four values, together where all three pointers allow it.
template <bool together>
__global__ void add_kernel(const float* a, const float* b, int64_t count, float* out) {
  const int64_t at = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * 4;
  if (together && at + 4 <= count) {
    const float4 left = *reinterpret_cast<const float4*>(a + at), right = *reinterpret_cast<const float4*>(b + at);
    *reinterpret_cast<float4*>(out + at) =
        make_float4(left.x + right.x, left.y + right.y, left.z + right.z, left.w + right.w);
  } else {
    for (int64_t i = at; i < count && i < at + 4; ++i) out[i] = a[i] + b[i];
  }
}

/// A thread a value of the slot.
__global__ void fold_kernel(const float* features, int channels, int exposures, int slot, int64_t pixels, float* out) {
  const int first = part_start(slot, exposures, channels), size = part_start(slot + 1, exposures, channels) - first;
  const int64_t item = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (item >= pixels * size) return;
  const int64_t pixel = item / size;
  const int j = static_cast<int>(item % size);
  float sum = 0;
  int groups = 0;
  for (int g = 0; g < exposures; ++g) {
    const int start = part_start(g, exposures, channels);
    if (start + j >= part_start(g + 1, exposures, channels)) continue;
    sum += features[pixel * channels + start + j];
    ++groups;
  }
  out[pixel * channels + first + j] = sum / groups;
}

/// A thread a value of the features.
__global__ void fold_backward_kernel(const float* grad_out, int channels, int exposures, int slot, int64_t size,
                                     float* grad_features) {
  const int64_t item = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (item >= size) return;
  const int c = static_cast<int>(item % channels), own = ((c + 1) * exposures - 1) / channels,  // its group
      j = c - part_start(own, exposures, channels), first = part_start(slot, exposures, channels);
  int groups = 0;
  for (int g = 0; g < exposures; ++g)
    groups += part_start(g, exposures, channels) + j < part_start(g + 1, exposures, channels);
  const bool taken = first + j < part_start(slot + 1, exposures, channels);
  grad_features[item] = taken ? grad_out[item - c + first + j] / groups : 0.0f;
}

__global__ void sigmoid_backward_kernel(const float* out, const float* grad_out, int64_t size, float* grad_x) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < size) grad_x[i] = grad_out[i] * out[i] * (1.0f - out[i]);
}

}  // namespace

void CudaOps::copy(ConstTensor from, Tensor to) {
  if (device_->failed()) return;
  device_->keep(
      cudaMemcpyAsync(to.data, from.data, from.size() * sizeof(float), cudaMemcpyDeviceToDevice, device_->queue()),
      "copy");
}

void CudaOps::add(ConstTensor a, ConstTensor b, Tensor out) {
  const bool together = (reinterpret_cast<uintptr_t>(a.data) | reinterpret_cast<uintptr_t>(b.data) |
                         reinterpret_cast<uintptr_t>(out.data)) %
                            sizeof(float4) ==
                        0;
  launch(*device_, together ? add_kernel<true> : add_kernel<false>, blocks_for(out.size(), 4 * kThreads), kThreads, 0,
         a.data, b.data, out.size(), out.data);
}

void CudaOps::fold_exposure(ConstTensor features, int exposures, int slot, Tensor out) {
  const int size = part_start(slot + 1, exposures, out.channels) - part_start(slot, exposures, out.channels);
  launch(*device_, fold_kernel, blocks_for(out.pixels() * size, kThreads), kThreads, 0, features.data,
         features.channels, exposures, slot, out.pixels(), out.data);
}

void CudaOps::fold_exposure_backward(ConstTensor grad_out, int exposures, int slot, Tensor grad_features) {
  launch(*device_, fold_backward_kernel, blocks_for(grad_out.size(), kThreads), kThreads, 0, grad_out.data,
         grad_out.channels, exposures, slot, grad_out.size(), grad_features.data);
}

void CudaOps::sigmoid_backward(ConstTensor out, ConstTensor grad_out, Tensor grad_x) {
  launch(*device_, sigmoid_backward_kernel, blocks_for(out.size(), kThreads), kThreads, 0, out.data, grad_out.data,
         out.size(), grad_x.data);
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
