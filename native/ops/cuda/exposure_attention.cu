// The attention between exposures in two passes over the pixels: the Gram matrix of z = norm(x), then one folded
// product, out = x + M z. What lies between is in exposure_algebra.cuh.
#include <algorithm>

#include "ops/cuda/exposure_algebra.cuh"
#include "ops/cuda/sums.cuh"
#include "ops/cuda/tensor_tile.cuh"
#include "ops/cuda/tokens.cuh"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

namespace {

using PixelTile = Tile<64>;
constexpr int kTilePixels = 64, kMostParts = 256, kBlock = 4;

/// One part of z z^T: 4x4 blocks of the matrix by thread; blockIdx.y counts those beyond the threads of a block.
__global__ void __launch_bounds__(PixelTile::kThreads)
    gram_kernel(const float* x, NormWeights norm, int channels, int64_t area, int64_t share, float* parts) {
  constexpr int pitch = PixelTile::kPitch;
  float* z = shared_memory<float>();
  const float* image = x + int64_t{blockIdx.z} * area * channels;
  const int side = (channels + kBlock - 1) / kBlock, block = blockIdx.y * PixelTile::kThreads + threadIdx.x,
            row = block / side * kBlock, column = block % side * kBlock;
  float sums[kBlock][kBlock] = {};
  const int64_t first = blockIdx.x * share, last = first + share < area ? first + share : area;
  for (int64_t start = first; start < last; start += kTilePixels) {
    __syncthreads();
    PixelTile::load([&](int t) { return start + t < last ? image + (start + t) * channels : nullptr; }, channels, norm,
                    z);
    __syncthreads();
    if (row >= channels) continue;
    for (int t = 0; t < kTilePixels; t += 4) {
      float4 left[kBlock], right[kBlock];
#pragma unroll
      for (int i = 0; i < kBlock; ++i) {
        left[i] = *reinterpret_cast<const float4*>(z + (row + i < channels ? row + i : row) * pitch + t);
        right[i] = *reinterpret_cast<const float4*>(z + (column + i < channels ? column + i : column) * pitch + t);
      }
#pragma unroll
      for (int i = 0; i < kBlock; ++i)
#pragma unroll
        for (int j = 0; j < kBlock; ++j)
          sums[i][j] +=
              left[i].x * right[j].x + left[i].y * right[j].y + left[i].z * right[j].z + left[i].w * right[j].w;
    }
  }
  float* part = parts + (int64_t{blockIdx.z} * gridDim.x + blockIdx.x) * channels * channels;
  for (int i = 0; i < kBlock; ++i)
    for (int j = 0; j < kBlock; ++j)
      if (row + i < channels && column + j < channels) part[(row + i) * channels + column + j] = sums[i][j];
}

/// M = Wo A Wv of one image from its Gram matrix.
__global__ void product_kernel(ExposureAttentionWeights w, int n, int exposures, const double* gram, double* memory,
                               float* out) {
  const int64_t image = blockIdx.x, square = int64_t{n} * n;
  const ExposureAlgebra m(memory + image * ExposureAlgebra::doubles(n), n);
  attend(w, n, exposures, gram + image * square, m);
  product(n, plain(w.out, n), plain(m.attended, n), into(out + image * square, n));
}

/// out = x + product norm(x).
__global__ void __launch_bounds__(PixelTile::kThreads)
    mix_kernel(const float* x, NormWeights norm, const float* product, int channels, int64_t area, float* out) {
  float *z = shared_memory<float>(), *mixed = z + channels * PixelTile::kPitch;
  const int64_t image = int64_t{blockIdx.y} * area * channels, first = int64_t{blockIdx.x} * kTilePixels;
  PixelTile::load([&](int t) { return first + t < area ? x + image + (first + t) * channels : nullptr; }, channels,
                  norm, z);
  __syncthreads();
  PixelTile::multiply(z, channels, product + int64_t{blockIdx.y} * channels * channels, channels, channels,
                      [&](int o, int t, float4 sum) { PixelTile::put(mixed, o, t, sum); });
  __syncthreads();
  PixelTile::each(mixed, channels, [&](int t, int c, float value) {
    const int64_t at = image + (first + t) * channels + c;
    if (first + t < area) out[at] = x[at] + value;
  });
}

constexpr int kTensorThreads = 256;

/// The same on tensor cores: a warp takes 16 pixels after another.
template <int c16>
__global__ void __launch_bounds__(kTensorThreads, 2)
    mix_tensor_kernel(const float* x, NormWeights norm, const float* product, int channels, int64_t area, float* out) {
  uint16_t* weights = shared_memory<uint16_t>();
  stage_matrix(product + int64_t{blockIdx.y} * channels * channels, channels, channels, weights);
  __syncthreads();
  const int lane = threadIdx.x % kWarp;
  const int64_t image = int64_t{blockIdx.y} * area * channels, step = int64_t{gridDim.x} * kTensorThreads / 2;
  for (int64_t first = (int64_t{blockIdx.x} * kTensorThreads + threadIdx.x) / kWarp * kTensorTokens; first < area;
       first += step) {
    const float* from[2];
    float* to[2];
    for (int half = 0; half < 2; ++half) {
      const int64_t pixel = first + lane / 4 + 8 * half;
      from[half] = pixel < area ? x + image + pixel * channels : nullptr;
      to[half] = pixel < area ? out + image + pixel * channels : nullptr;
    }
    Tokens<c16> sums, z;
    sums.load(from, channels);
    z = sums;
    z.normalise(norm, channels);
    uint32_t factors[c16][4];
    as_factors(z, factors);
#pragma unroll
    for (int k = 0; k < c16; ++k) multiply_rows<2 * c16>(factors[k], weights, weight_pitch(c16), 16 * k, sums.at);
    sums.store(to, channels);
  }
}

}  // namespace

void CudaOps::exposure_attention(const ExposureAttentionArgs& args) {
  const int batch = args.x.batch, channels = args.x.channels;
  const int64_t area = int64_t{args.x.height} * args.x.width, square = int64_t{channels} * channels;
  const unsigned images = static_cast<unsigned>(batch);
  Scratch scratch(*device_);
  double* gram = scratch.take<double>(batch * square);
  // The share of a part depends on the image's size alone.
  const int64_t tiles = blocks_for(area, kTilePixels), share = (tiles + kMostParts - 1) / kMostParts * kTilePixels;
  const unsigned parts = blocks_for(area, share);
  if (!args.sums || args.sums->mode == ImageSums::Mode::record) {
    float* partial = scratch.take(batch * square * parts);
    const int side = (channels + kBlock - 1) / kBlock;
    launch(*device_, gram_kernel, dim3(parts, blocks_for(side * side, PixelTile::kThreads), images),
           PixelTile::kThreads, PixelTile::bytes(channels), args.x.data, args.weights.norm, channels, area, share,
           partial);
    sum_parts(*device_, partial, batch, parts, square, Scaled{1.0 / double(area), gram, static_cast<int>(square)});
  }
  share_sums(*device_, args.sums, batch, static_cast<int>(square), gram);
  float* product = scratch.take(batch * square);
  launch(*device_, product_kernel, images, 512, 0, args.weights, channels, args.exposures, gram,
         scratch.take<double>(batch * ExposureAlgebra::doubles(channels)), product);
  if (tensor_cores_ && channels <= 64) {
    const int64_t blocks = std::min<int64_t>(blocks_for(area, kTensorThreads / 2), int64_t{2} * device_->processors());
    const auto run = [&](auto kernel) {
      launch(*device_, kernel, dim3(static_cast<unsigned>(blocks), images), kTensorThreads,
             weight_bytes(units(channels), units(channels)), args.x.data, args.weights.norm, product, channels, area,
             args.out.data);
    };
    switch (units(channels)) {
      case 1:
        return run(mix_tensor_kernel<1>);
      case 2:
        return run(mix_tensor_kernel<2>);
      case 3:
        return run(mix_tensor_kernel<3>);
      default:
        return run(mix_tensor_kernel<4>);
    }
  }
  launch(*device_, mix_kernel, dim3(blocks_for(area, kTilePixels), images), PixelTile::kThreads,
         PixelTile::bytes(2 * channels), args.x.data, args.weights.norm, product, channels, area, args.out.data);
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
