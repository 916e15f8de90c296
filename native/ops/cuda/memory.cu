#include <algorithm>
#include <cmath>
#include <cstring>

#include "ops/cuda/cuda_ops.h"
#include "ops/cuda/memory.h"
#include "ops/cuda/staging.h"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

namespace {

constexpr int kThreads = 256;
constexpr int64_t kPinned = int64_t{1} << 20;  // floats of a pinned piece
constexpr size_t kAlignment = 512;

__global__ void fill_kernel(float* to, float value, int64_t count) {
  const int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (at < count) to[at] = value;
}

/// A thread a float; neighbouring threads have neighbouring channels, or columns where there is one channel.
__global__ void copy_pixels_kernel(CopyPixelsArgs args) {
  const int64_t row_floats = int64_t{args.columns} * args.channels, at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (at >= row_floats) return;
  const int64_t column = at / args.channels, channel = at % args.channels, image = blockIdx.z;
  for (int64_t row = blockIdx.y; row < args.rows; row += gridDim.y)
    args.to.data[image * args.to.per_image + row * args.to.per_row + column * args.to.per_column + channel] =
        args.from.data[image * args.from.per_image + row * args.from.per_row + column * args.from.per_column + channel];
}

__global__ void scale_kernel(float* values, float factor, int64_t count) {
  const int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (at < count) values[at] *= factor;
}

}  // namespace

PinnedCopies::~PinnedCopies() {
  for (Piece& piece : pieces_) {
    if (piece.data) cudaFreeHost(piece.data);
    if (piece.copied) cudaEventDestroy(piece.copied);
  }
}

cudaError_t PinnedCopies::pin() {
  cudaError_t error = cudaSuccess;
  for (Piece& piece : pieces_) {
    void* data = piece.data;
    if (!data) error = cudaMallocHost(&data, kPinned * sizeof(float));
    piece.data = static_cast<float*>(data);
    if (error == cudaSuccess && !piece.copied) error = cudaEventCreateWithFlags(&piece.copied, cudaEventDisableTiming);
    if (error != cudaSuccess) break;
  }
  return error;
}

cudaError_t PinnedCopies::upload(const void* from, void* to, size_t bytes, cudaStream_t queue) {
  constexpr size_t kPiece = kPinned * sizeof(float);
  cudaError_t error = pin();
  for (size_t at = 0, turn = 0; at < bytes && error == cudaSuccess; at += kPiece, ++turn) {
    const Piece& piece = pieces_[turn % 2];
    const size_t size = std::min(kPiece, bytes - at);
    // An event that was never recorded counts as done.
    error = cudaEventSynchronize(piece.copied);
    std::memcpy(piece.data, static_cast<const char*>(from) + at, size);
    if (error == cudaSuccess)
      error = cudaMemcpyAsync(static_cast<char*>(to) + at, piece.data, size, cudaMemcpyHostToDevice, queue);
    if (error == cudaSuccess) error = cudaEventRecord(piece.copied, queue);
  }
  return error;
}

cudaError_t PinnedCopies::download(const float* from, float* to, int64_t floats, cudaStream_t queue) {
  cudaError_t error = pin();
  const auto bytes_at = [&](int64_t at) { return std::min(kPinned, floats - at) * sizeof(float); };
  const auto begin = [&](int64_t at) {
    const Piece& piece = pieces_[at / kPinned % 2];
    if (error == cudaSuccess)
      error = cudaMemcpyAsync(piece.data, from + at, bytes_at(at), cudaMemcpyDeviceToHost, queue);
    if (error == cudaSuccess) error = cudaEventRecord(piece.copied, queue);
  };
  if (floats > 0) begin(0);
  for (int64_t at = 0; at < floats && error == cudaSuccess; at += kPinned) {
    if (at + kPinned < floats) begin(at + kPinned);
    const Piece& piece = pieces_[at / kPinned % 2];
    if (error == cudaSuccess) error = cudaEventSynchronize(piece.copied);
    if (error == cudaSuccess) std::memcpy(to + at, piece.data, bytes_at(at));
  }
  return error;
}

DeviceMemory::~DeviceMemory() {
  device_.enter();
  (void)device_.synchronise();
  free_unused();
  for (const auto& [data, bytes] : used_) cudaFree(data);
}

float* DeviceMemory::allocate(int64_t floats) {
  const size_t bytes =
      (std::max<size_t>(1, static_cast<size_t>(floats) * sizeof(float)) + kAlignment - 1) / kAlignment * kAlignment;
  // Of what is kept the smallest that is large enough, unless most of it would lie idle.
  const auto kept = unused_.lower_bound(bytes);
  if (kept != unused_.end() && kept->first <= bytes + bytes / 4) {
    const auto [size, data] = *kept;
    unused_.erase(kept);
    unused_bytes_ -= size;
    used_[data] = size;
    return static_cast<float*>(data);
  }
  void* data = nullptr;
  if (cudaMalloc(&data, bytes) != cudaSuccess) {
    cudaGetLastError();
    free_unused();
    device_.free_scratch();
    if (cudaMalloc(&data, bytes) != cudaSuccess) {
      cudaGetLastError();
      return nullptr;
    }
  }
  used_[data] = bytes;
  return static_cast<float*>(data);
}

void DeviceMemory::release(float* data) {
  const auto it = used_.find(data);
  if (it == used_.end()) return;
  unused_.emplace(it->second, it->first);
  unused_bytes_ += it->second;
  used_.erase(it);
}

void DeviceMemory::free_unused() {
  for (const auto& [bytes, data] : unused_) cudaFree(data);  // waits for what uses it
  unused_.clear();
  unused_bytes_ = 0;
}

int64_t DeviceMemory::available() const {
  size_t free_bytes = 0, total = 0;
  if (cudaMemGetInfo(&free_bytes, &total) != cudaSuccess) {
    cudaGetLastError();
    return -1;
  }
  return static_cast<int64_t>(free_bytes + unused_bytes_);
}

void DeviceMemory::fail_allocation() {
  device_.keep(Error{ErrorCode::out_of_memory, "Not enough memory on the device."});
}

void DeviceMemory::upload_bytes(const void* from, void* to, size_t bytes) {
  if (!device_.failed()) device_.keep(copies_.upload(from, to, bytes, device_.queue()), "copy to the device");
}

void DeviceMemory::download(const float* from, float* to, int64_t floats) {
  if (!device_.failed()) device_.keep(copies_.download(from, to, floats, device_.queue()), "copy to the host");
  if (device_.failed()) std::fill_n(to, floats, NAN);
}

std::unique_ptr<Staging> DeviceMemory::make_staging() { return std::make_unique<DeviceStaging>(device_, *this); }

void DeviceMemory::copy(const float* from, float* to, int64_t floats) {
  if (device_.failed()) return;
  device_.keep(cudaMemcpyAsync(to, from, floats * sizeof(float), cudaMemcpyDeviceToDevice, device_.queue()), "copy");
}

void DeviceMemory::fill(float* to, float value, int64_t floats) {
  launch(device_, fill_kernel, blocks_for(floats, kThreads), kThreads, 0, to, value, floats);
}

void CudaOps::copy_pixels(const CopyPixelsArgs& args) {
  const unsigned rows = std::min(args.rows, 65535),
                 blocks = blocks_for(int64_t{args.columns} * args.channels, kThreads);
  launch(*device_, copy_pixels_kernel, dim3(blocks, rows, args.images), kThreads, 0, args);
}

void CudaOps::scale(float* values, int64_t count, float factor) {
  launch(*device_, scale_kernel, blocks_for(count, kThreads), kThreads, 0, values, factor, count);
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
