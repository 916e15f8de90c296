// Sums over whole images in two steps: blocks leave parts, one kernel adds them up, in double and in a fixed order.
#pragma once

#include "ops/cuda/cuda_ops.h"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

/// emit(image, i, the sum over parts of from[image][part][i]). A launch's rule: see sum_parts().
template <typename Emit>
__global__ void sum_parts_kernel(const float* from, int parts, int count, Emit emit) {
  const int column = threadIdx.x % kWarp, row = threadIdx.x / kWarp, rows = blockDim.x / kWarp,
            i = blockIdx.x * kWarp + column;
  const float* image = from + int64_t{blockIdx.y} * parts * count;
  double sum = 0;
  if (i < count)
    for (int part = row; part < parts; part += rows) sum += image[int64_t{part} * count + i];
  double* sums = shared_memory<double>();
  sums[threadIdx.x] = sum;
  __syncthreads();
  if (row != 0 || i >= count) return;
  for (int r = 1; r < rows; ++r) sum += sums[r * kWarp + column];
  emit(blockIdx.y, i, sum);
}

template <typename Emit>
void sum_parts(Device& device, const float* from, int batch, int64_t parts, int64_t count, Emit emit) {
  constexpr int kThreads = 512;
  launch(device, sum_parts_kernel<Emit>, dim3(blocks_for(count, kWarp), static_cast<unsigned>(batch)), kThreads,
         kThreads * sizeof(double), from, static_cast<int>(parts), static_cast<int>(count), emit);
}

/// For sum_parts: out[image][i] = scale * the sum.
struct Scaled {
  double scale, *out;
  int count;
  __device__ __forceinline__ void operator()(int image, int i, double sum) const {
    out[int64_t{image} * count + i] = sum * scale;
  }
};

/// Every image's `count` values become their mean over the batch.
static __global__ void share_kernel(double* values, int batch, int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  double sum = 0;
  for (int b = 0; b < batch; ++b) sum += values[int64_t{b} * count + i] / batch;
  for (int b = 0; b < batch; ++b) values[int64_t{b} * count + i] = sum;
}

/// Applies ImageSums to values [batch][count] on the device. Recording waits for the queue.
inline void share_sums(Device& device, ImageSums* sums, int batch, int count, double* values) {
  if (!sums || device.failed()) return;
  const size_t bytes = size_t(count) * sizeof(double);
  if (sums->mode == ImageSums::Mode::given) {
    for (int b = 0; b < batch; ++b)
      device.keep(cudaMemcpyAsync(values + int64_t{b} * count, sums->values.data(), bytes, cudaMemcpyHostToDevice,
                                  device.queue()),
                  "sums");
    return;
  }
  launch(device, share_kernel, blocks_for(count, 256), 256, 0, values, batch, count);
  sums->values.assign(count, 0.0);
  device.keep(cudaMemcpyAsync(sums->values.data(), values, bytes, cudaMemcpyDeviceToHost, device.queue()), "sums");
  device.keep(cudaStreamSynchronize(device.queue()), "sums");
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
