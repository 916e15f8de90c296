// The last step of a network with a prior, forward and backward; see PriorArgs in ops.h. A thread a pixel.
#include "ops/cuda/cuda_ops.h"
#include "ops/prior.h"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

namespace {

constexpr int kThreads = 256;

/// The logit p of a given radiance.
__device__ __forceinline__ float prior_logit(float radiance) {
  const float h = fminf(fmaxf(radiance, 0.0f), 1.0f);
  return logf((h + static_cast<float>(kPriorBlack)) / (1.0f + static_cast<float>(kPriorWhite) - h));
}

__global__ void prior_kernel(const float* x, const float* prior, float share, int64_t pixels, float* out) {
  const int64_t pixel = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (pixel >= pixels) return;
  const float gate = share * sigmoid(x[pixel * 4 + 3]);
  for (int c = 0; c < 3; ++c) {
    const float z = x[pixel * 4 + c];
    out[pixel * 3 + c] = sigmoid(z + gate * (prior_logit(prior[pixel * 6 + c]) - z));
  }
}

__global__ void prior_backward_kernel(const float* x, const float* prior, const float* out, const float* grad_out,
                                      float share, float gate_pull, int64_t pixels, float* grad_x) {
  const int64_t pixel = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (pixel >= pixels) return;
  const float open = sigmoid(x[pixel * 4 + 3]), gate = share * open;
  float grad_gate = 0;
  for (int c = 0; c < 3; ++c) {
    const float o = out[pixel * 3 + c], grad = grad_out[pixel * 3 + c] * o * (1.0f - o);
    grad_gate += grad * (prior_logit(prior[pixel * 6 + c]) - x[pixel * 4 + c]);
    grad_x[pixel * 4 + c] = grad * (1.0f - gate);
  }
  grad_x[pixel * 4 + 3] = grad_gate * gate * (1.0f - open) + gate_pull * x[pixel * 4 + 3];
}

}  // namespace

void CudaOps::prior(const PriorArgs& args) {
  launch(*device_, prior_kernel, blocks_for(args.out.pixels(), kThreads), kThreads, 0, args.x.data, args.prior.data,
         args.share, args.out.pixels(), args.out.data);
}

void CudaOps::prior_backward(const PriorBackwardArgs& args) {
  const PriorArgs& forward = args.forward;
  launch(*device_, prior_backward_kernel, blocks_for(args.grad_x.pixels(), kThreads), kThreads, 0, forward.x.data,
         forward.prior.data, forward.out.data, args.grad_out.data, forward.share, args.gate_pull, args.grad_x.pixels(),
         args.grad_x.data);
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
