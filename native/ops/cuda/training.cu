// What training needs besides the network: both losses, the gradients' norm and Adam. Sums are in double and in a fixed
// order: the blocks' parts, then one block's sum of them. See smhdr/training.h and ops/reference for the formulas.
#include <algorithm>
#include <cmath>

#include "ops/cuda/cuda_ops.h"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

namespace {

constexpr int kThreads = 256, kMostBlocks = 1024, kSizes = 3;

/// The sum over the block, known to its first thread.
__device__ double block_sum(double value) {
  double* sums = shared_memory<double>();
  value = lane_sum<kWarp>(value);
  if (threadIdx.x % kWarp == 0) sums[threadIdx.x / kWarp] = value;
  __syncthreads();
  double total = 0;
  for (int warp = 0; threadIdx.x == 0 && warp < kThreads / kWarp; ++warp) total += sums[warp];
  return total;
}

/// parts[block] = the sum of term(i) over the block's i.
template <typename Term>
__global__ void __launch_bounds__(kThreads) terms_kernel(Term term, int64_t count, double* parts) {
  double sum = 0;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += int64_t{gridDim.x} * kThreads)
    sum += term(i);
  sum = block_sum(sum);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads) total_kernel(const double* parts, int count, double* total) {
  double sum = 0;
  for (int i = threadIdx.x; i < count; i += kThreads) sum += parts[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *total = sum;
}

/// Sums of terms that end up as one number on the host.
class Sum {
 public:
  Sum(Device& device, Scratch& scratch, int kinds)
      : device_(device), parts_(scratch.take<double>(int64_t{kMostBlocks} * kinds + 1)) {}
  template <typename Term>
  void add(Term term, int64_t count) {
    const unsigned blocks = std::min<unsigned>(blocks_for(count, kThreads), kMostBlocks);
    launch(device_, terms_kernel<Term>, blocks, kThreads, kThreads / kWarp * sizeof(double), term, count,
           parts_ + count_);
    count_ += static_cast<int>(blocks);
  }
  /// Waits for the queue; NaN where the device failed.
  double total() {
    launch(device_, total_kernel, 1, kThreads, kThreads / kWarp * sizeof(double), parts_, count_, parts_ + count_);
    double total = NAN;
    if (device_.failed()) return total;
    device_.keep(cudaMemcpyAsync(&total, parts_ + count_, sizeof(double), cudaMemcpyDeviceToHost, device_.queue()),
                 "sum");
    device_.keep(cudaStreamSynchronize(device_.queue()), "sum");
    return device_.failed() ? NAN : total;
  }

 private:
  Device& device_;
  double* parts_;
  int count_ = 0;
};

struct SquareTerm {
  const float* values;
  __device__ double operator()(int64_t i) const { return double(values[i]) * values[i]; }
};

/// The mu-law, with 1 / log(1 + mu) from the host.
struct MuLaw {
  double scale;
  __device__ __forceinline__ double operator()(float radiance) const { return log1p(kMu * radiance) * scale; }
  __device__ __forceinline__ double slope(float radiance) const { return scale * kMu / (1 + kMu * radiance); }
};
MuLaw mu_law() { return {1 / std::log1p(kMu)}; }

__device__ __forceinline__ double sign(double x) { return (x > 0) - (x < 0); }

struct MuLawTerm {
  MuLaw law;
  const float *prediction, *truth, *weights;
  int channels;
  double squared, share;
  float* grad;
  __device__ double operator()(int64_t i) const {
    const double weight = weights ? weights[i / channels] : 1.0, difference = law(prediction[i]) - law(truth[i]);
    const double slope = sign(difference) + squared * difference;
    if (grad) grad[i] = static_cast<float>(slope * fabs(weight) * share * law.slope(prediction[i]));
    return fabs(weight * difference) * (1 + squared / 2 * fabs(difference)) * share;
  }
};

/// A batch at one size of the structure loss: the differences, the weights, and the differences' gradient.
struct Level {
  int height, width;
  double *difference, *weight, *grad;
};

__global__ void first_level_kernel(MuLaw law, const float* prediction, const float* truth, const float* weights,
                                   int channels, int64_t size, Level level) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= size) return;
  level.difference[i] = law(prediction[i]) - law(truth[i]);
  if (i % channels == 0) level.weight[i / channels] = weights ? weights[i / channels] : 1.0;
}

/// Means of 2x2 of images of the given size. A thread a value of `to`.
__global__ void halve_kernel(const double* from, int height, int width, int channels, int64_t size, double* to) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= size) return;
  const int c = static_cast<int>(i % channels), x = static_cast<int>(i / channels % (width / 2));
  const int64_t row = i / channels / (width / 2), image = row / (height / 2), y = row % (height / 2);
  const double* at = from + ((image * height + 2 * y) * width + 2 * x) * channels + c;
  const int64_t below = int64_t{width} * channels;
  to[i] = 0.25 * (at[0] + at[channels] + at[below] + at[below + channels]);
}

/// W |difference to a neighbour| to the right and below; the gradient from all four.
struct StructureTerm {
  Level level;
  int channels;
  double share_x, share_y;  // of one difference in the mean
  __device__ __forceinline__ double weight(int64_t pixel, int64_t neighbour) const {
    return fabs(0.5 * (level.weight[pixel] + level.weight[neighbour]));
  }
  __device__ double operator()(int64_t i) const {
    const int64_t pixel = i / channels;
    const int x = static_cast<int>(pixel % level.width), y = static_cast<int>(pixel / level.width % level.height);
    const double* d = level.difference + i;
    double total = 0, grad = 0;
    const auto visit = [&](int64_t pixels, double share, bool counted) {
      const double step = d[pixels * channels] - d[0], w = weight(pixel, pixel + pixels) * share;
      if (counted) total += w * fabs(step);
      grad -= sign(step) * w;
    };
    if (x + 1 < level.width) visit(1, share_x, true);
    if (y + 1 < level.height) visit(level.width, share_y, true);
    if (x > 0) visit(-1, share_x, false);
    if (y > 0) visit(-level.width, share_y, false);
    level.grad[i] = grad;
    return total;
  }
};

struct Levels {
  Level at[kSizes];
};

/// grad += factor times the prediction's gradient, gathered from all sizes.
__global__ void structure_grad_kernel(MuLaw law, const float* prediction, Levels levels, int channels, int64_t size,
                                      double factor, float* grad) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= size) return;
  const int c = static_cast<int>(i % channels);
  int64_t row = i / channels / levels.at[0].width, image = row / levels.at[0].height;
  int y = static_cast<int>(row % levels.at[0].height), x = static_cast<int>(i / channels % levels.at[0].width);
  double sum = 0, share = 1;
  for (int s = 0; s < kSizes; ++s, y /= 2, x /= 2, share /= 4) {
    const Level& level = levels.at[s];
    if (y >= level.height || x >= level.width) break;  // an odd last row or column is in no smaller size
    sum += share * level.grad[((image * level.height + y) * level.width + x) * channels + c];
  }
  grad[i] += static_cast<float>(factor * sum * law.slope(prediction[i]));
}

struct AdamFactors {
  float beta1, beta2, rate, root, epsilon, pull;
};

__global__ void adam_kernel(AdamFactors f, int64_t count, const float* gradient, float* first, float* second,
                            float* parameter, float* average) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count) return;
  const float g = gradient[i], m = f.beta1 * first[i] + (1 - f.beta1) * g,
              v = f.beta2 * second[i] + (1 - f.beta2) * g * g,
              p = parameter[i] - f.rate * m / (sqrtf(v) * f.root + f.epsilon);
  first[i] = m;
  second[i] = v;
  parameter[i] = p;
  if (average) average[i] = f.pull == 1 ? p : average[i] + f.pull * (p - average[i]);
}

}  // namespace

double CudaOps::squared_norm(const float* values, int64_t count) {
  Scratch scratch(*device_);
  Sum sum(*device_, scratch, 1);
  sum.add(SquareTerm{values}, count);
  return sum.total();
}

double CudaOps::mu_law_loss(ConstTensor prediction, ConstTensor truth, const float* weights, double squared,
                            Tensor grad) {
  Scratch scratch(*device_);
  Sum sum(*device_, scratch, 1);
  sum.add(MuLawTerm{mu_law(), prediction.data, truth.data, weights, prediction.channels, squared,
                    1 / double(prediction.size()), grad.data},
          prediction.size());
  return sum.total();
}

double CudaOps::structure_loss(ConstTensor prediction, ConstTensor truth, const float* weights, double scale,
                               Tensor grad) {
  const int channels = prediction.channels, batch = prediction.batch;
  Scratch scratch(*device_);
  Sum sum(*device_, scratch, kSizes);
  const double share = 1.0 / (kSizes * batch);
  const auto blocks = [](int64_t size) { return blocks_for(size, kThreads); };
  Levels levels{};
  for (int s = 0; s < kSizes; ++s) {
    Level& level = levels.at[s];
    level.height = prediction.height >> s;
    level.width = prediction.width >> s;
    const int64_t area = int64_t{level.height} * level.width, pixels = batch * area, size = pixels * channels;
    level.difference = scratch.take<double>(size);
    level.grad = scratch.take<double>(size);
    level.weight = scratch.take<double>(pixels);
    if (s == 0) {
      launch(*device_, first_level_kernel, blocks(size), kThreads, 0, mu_law(), prediction.data, truth.data, weights,
             channels, size, level);
    } else {
      const Level& from = levels.at[s - 1];
      launch(*device_, halve_kernel, blocks(size), kThreads, 0, from.difference, from.height, from.width, channels,
             size, level.difference);
      launch(*device_, halve_kernel, blocks(pixels), kThreads, 0, from.weight, from.height, from.width, 1, pixels,
             level.weight);
    }
    const double across = double(level.height) * (level.width - 1) * channels,
                 down = double(level.height - 1) * level.width * channels;
    sum.add(StructureTerm{level, channels, across > 0 ? share / across : 0, down > 0 ? share / down : 0}, size);
  }
  if (grad.data)
    launch(*device_, structure_grad_kernel, blocks(prediction.size()), kThreads, 0, mu_law(), prediction.data, levels,
           channels, prediction.size(), scale, grad.data);
  return sum.total();
}

void CudaOps::adam_step(const AdamArgs& args) {
  const AdamOptions& options = args.options;
  const double correction1 = 1 - std::pow(options.beta1, double(args.step)),
               correction2 = 1 - std::pow(options.beta2, double(args.step));
  const AdamFactors factors{static_cast<float>(options.beta1),
                            static_cast<float>(options.beta2),
                            static_cast<float>(options.rate / correction1),
                            static_cast<float>(1 / std::sqrt(correction2)),
                            static_cast<float>(options.epsilon),
                            args.pull};
  launch(*device_, adam_kernel, blocks_for(args.count, kThreads), kThreads, 0, factors, args.count, args.gradient,
         args.first, args.second, args.parameter, args.average);
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
