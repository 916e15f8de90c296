// The gradients of the attention between exposures in two passes over the pixels, as forward: the sums of z z^T and g
// z^T (z = norm(x), g the output's gradient), then grad_z = M^T g + (dG + dG^T) z. Between lies the algebra of C x C
// matrices (exposure_algebra.cuh) and its gradients, in double, by one block an image.
#include "ops/cuda/exposure_algebra.cuh"
#include "ops/cuda/gradients.cuh"
#include "ops/cuda/sums.cuh"
#include "ops/cuda/tokens.cuh"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

namespace {

using PixelTile = Tile<64>;
constexpr int kTilePixels = 64;

/// z, then g: 2C values a pixel.
struct StackedValues {
  const float *z, *grad;
  int channels;
  __device__ __forceinline__ float operator()(int pixel, int c) const {
    return c < channels ? z[int64_t{pixel} * channels + c] : grad[int64_t{pixel} * channels + c - channels];
  }
};

/// Matrices of one image, C x C doubles each, behind those of forward.
struct Matrices : ExposureAlgebra {
  double *grad_attended, *grad_dot, *grad_query, *inner;
  double *grad_query_squared, *grad_key_squared;  // [C]
  static constexpr int64_t doubles(int64_t n) { return ExposureAlgebra::doubles(n) + 4 * n * n + 2 * n; }
  __device__ Matrices(double* memory, int n) : ExposureAlgebra(memory, n) {
    double* at = rest;
    double** squares[] = {&grad_attended, &grad_dot, &grad_query, &inner};
    for (double** one : squares) *one = at, at += int64_t{n} * n;
    grad_query_squared = at, grad_key_squared = at + n;
  }
};

/// sums [2C, C]: z z^T, then g z^T. A part holds the image's gradients of q, k, v and out; mix [C, 2C] is
/// [dG + dG^T, M^T].
__global__ void product_backward_kernel(ExposureAttentionWeights w, int n, int exposures, const double* sums,
                                        double* memory, float* parts, float* mix) {
  const int square = n * n, heads = exposure_heads(n, exposures), first = part_start(exposures / 2, exposures, n),
            slot = part_start(exposures / 2 + 1, exposures, n) - first;
  const Matrices m(memory + blockIdx.x * Matrices::doubles(n), n);
  const double *gram = sums + int64_t{blockIdx.x} * 2 * square, *grad = gram + square;
  float *grad_q = parts + int64_t{blockIdx.x} * 4 * square, *grad_k = grad_q + square, *grad_v = grad_k + square,
        *grad_out = grad_v + square;
  mix += int64_t{blockIdx.x} * 2 * square;
  attend(w, n, exposures, gram, m);
  product(n, plain(w.out, n), plain(m.attended, n),
          [&](int i, int j, double sum) { mix[j * 2 * n + n + i] = static_cast<float>(sum); });

  // Backward: the product, the softmax, the cosine.
  product(n, plain(grad, n), turned(m.attended, n), into(grad_out, n));
  product(n, turned(w.out, n), plain(grad, n), into(m.grad_attended, n));
  product(n, turned(m.attention, n), plain(m.grad_attended, n), into(grad_v, n));
  product(n, plain(m.grad_attended, n), turned(w.v, n), into(m.grad_dot, n));
  for (int o = threadIdx.x; o < n; o += blockDim.x) {
    const ExposureHead head(o, n, heads);
    double along = 0, squared = 0;
    for (int j = head.start; j < head.end; ++j) along += m.attention[o * n + j] * m.grad_dot[o * n + j];
    for (int j = 0; j < n; ++j) {
      const double slope = m.attention[o * n + j] * (m.grad_dot[o * n + j] - along);  // zero outside of the head
      squared -= slope * m.cosine[o * n + j] / (2 * m.query_norm[o] * m.query_norm[o]);
      m.grad_dot[o * n + j] = slope / (m.query_norm[o] * m.key_norm[j]);
    }
    m.grad_query_squared[o] = squared;
  }
  __syncthreads();
  for (int j = threadIdx.x; j < n; j += blockDim.x) {
    double squared = 0;
    for (int o = 0; o < n; ++o)
      squared -= m.grad_dot[o * n + j] * m.query_norm[o] * m.cosine[o * n + j] / (2 * m.key_norm[j]);
    m.grad_key_squared[j] = squared;
  }
  __syncthreads();
  product(n, plain(m.grad_dot, n), plain(m.key_gram, n), [&](int o, int c, double sum) {
    m.grad_query[o * n + c] = sum + 2 * m.grad_query_squared[o] * m.query_gram[o * n + c];
  });
  product(n, turned(m.grad_dot, n), plain(m.query_gram, n), [&](int o, int c, double sum) {
    grad_k[o * n + c] = static_cast<float>(sum + 2 * m.grad_key_squared[o] * m.key_gram[o * n + c]);
  });
  for (int i = threadIdx.x; i < square; i += blockDim.x)
    grad_q[i] = static_cast<float>(m.grad_query[i / n * n + first + i % n % slot]);
  // dG = Q^T (dT K + dq Q) + K^T dk K, with the squared norms' gradients dq and dk down the rows.
  product(n, plain(m.grad_dot, n), plain(w.k, n),
          [&](int o, int c, double sum) { m.inner[o * n + c] = sum + m.grad_query_squared[o] * m.query[o * n + c]; });
  double* grad_gram = m.attended;  // no longer needed
  product(n, turned(m.query, n), plain(m.inner, n), into(grad_gram, n));
  product(
      n, turned(w.k, n), [&](int k, int c) { return m.grad_key_squared[k] * w.k[k * n + c]; },
      [&](int i, int j, double sum) { grad_gram[i * n + j] += sum; });
  for (int i = threadIdx.x; i < square; i += blockDim.x)
    mix[i / n * 2 * n + i % n] = static_cast<float>(grad_gram[i] + grad_gram[i % n * n + i / n]);
}

/// grad_z = mix [z; g].
__global__ void __launch_bounds__(PixelTile::kThreads)
    mix_backward_kernel(const float* z, const float* grad, const float* mix, int channels, int64_t area,
                        float* grad_z) {
  float *values = shared_memory<float>(), *mixed = values + 2 * channels * PixelTile::kPitch;
  const int64_t image = int64_t{blockIdx.y} * area, first = int64_t{blockIdx.x} * kTilePixels;
  const auto load = [&](const float* from, float* to) {
    PixelTile::load([&](int t) { return first + t < area ? from + (image + first + t) * channels : nullptr; }, channels,
                    NormWeights{}, to);
  };
  load(z, values);
  load(grad, values + channels * PixelTile::kPitch);
  __syncthreads();
  PixelTile::multiply(values, 2 * channels, mix + int64_t{blockIdx.y} * 2 * channels * channels, 2 * channels, channels,
                      [&](int o, int t, float4 sum) { PixelTile::put(mixed, o, t, sum); });
  __syncthreads();
  PixelTile::each(mixed, channels, [&](int t, int c, float value) {
    if (first + t < area) grad_z[(image + first + t) * channels + c] = value;
  });
}

}  // namespace

void CudaOps::exposure_attention_backward(const ExposureAttentionBackwardArgs& args) {
  const ExposureAttentionArgs& forward = args.forward;
  const ExposureAttentionGradients& out = args.gradients;
  const int batch = forward.x.batch, channels = forward.x.channels, square = channels * channels;
  const int64_t pixels = forward.x.pixels(), area = pixels / batch;
  const unsigned images = static_cast<unsigned>(batch);
  Scratch scratch(*device_);
  float *z = scratch.take(pixels * channels), *grad_z = scratch.take(pixels * channels);
  layer_norm(forward.x, forward.weights.norm, {z, batch, forward.x.height, forward.x.width, channels});
  const OuterParts how(area, 2 * channels, channels);
  float* partial = scratch.take(int64_t{2} * batch * how.parts * square);
  outer_products(*device_, how, StackedValues{z, args.grad_out.data, channels}, 2 * channels, Values{z, channels},
                 channels, batch, area, partial);
  double* sums = scratch.take<double>(int64_t{2} * batch * square);
  sum_parts(*device_, partial, batch, how.parts, 2 * square, Scaled{1, sums, 2 * square});
  float *parts = scratch.take(int64_t{4} * batch * square), *mix = scratch.take(int64_t{2} * batch * square);
  launch(*device_, product_backward_kernel, images, 512, 0, forward.weights, channels, forward.exposures, sums,
         scratch.take<double>(batch * Matrices::doubles(channels)), parts, mix);
  if (out.q || out.k || out.v || out.out)
    add_parts(*device_, parts, batch, int64_t{4} * square,
              Accumulators<4>{{out.q, out.k, out.v, out.out}, {square, square, square, square}});
  launch(*device_, mix_backward_kernel, dim3(blocks_for(area, kTilePixels), images), PixelTile::kThreads,
         PixelTile::bytes(3 * channels), z, args.grad_out.data, mix, channels, area, grad_z);
  norm_backward(*device_, forward.x.data, forward.weights.norm, grad_z, out.norm, args.grad_out.data, channels, pixels,
                args.grad_x.data);
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
