// The ops on a CUDA device. Tensors and weights are device memory; work is queued and finish() waits for it. Each op is
// a file of its own, forward and backward side by side.
#pragma once

#include "ops/cuda/memory.h"
#include "ops/cuda/runtime.h"
#include "ops/ops.h"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

class CudaOps final : public Ops {
 public:
  CudaOps(std::unique_ptr<Device> device, Precision precision)
      : device_(std::move(device)),
        memory_(*device_),
        tensor_cores_(precision == Precision::bf16 && device_->capability() >= 80) {}
  const char* name() const override { return device_->name().c_str(); }
  Memory& memory() override { return memory_; }
  Device& device() { return *device_; }

  void convolution(const ConvolutionArgs& args) override;
  void layer_norm(ConstTensor x, NormWeights weights, Tensor out) override;
  void mlp(const MlpArgs& args) override;
  void window_attention(const AttentionArgs& args) override;
  void local_branch(const LocalBranchArgs& args) override;
  void hybrid_block(const HybridArgs& args) override;
  void exposure_attention(const ExposureAttentionArgs& args) override;
  void fold_exposure(ConstTensor features, int exposures, int slot, Tensor out) override;
  void prior(const PriorArgs& args) override;
  void copy(ConstTensor from, Tensor to) override;
  void copy_pixels(const CopyPixelsArgs& args) override;
  void scale(float* values, int64_t count, float factor) override;
  void add(ConstTensor a, ConstTensor b, Tensor out) override;

  void convolution_backward(const ConvolutionBackwardArgs& args) override;
  void layer_norm_backward(ConstTensor x, NormWeights weights, ConstTensor grad_out, NormGradients gradients,
                           Tensor grad_x) override;
  void mlp_backward(const MlpBackwardArgs& args) override;
  void window_attention_backward(const AttentionBackwardArgs& args) override;
  void local_branch_backward(const LocalBranchBackwardArgs& args) override;
  void exposure_attention_backward(const ExposureAttentionBackwardArgs& args) override;
  void fold_exposure_backward(ConstTensor grad_out, int exposures, int slot, Tensor grad_features) override;
  void sigmoid_backward(ConstTensor out, ConstTensor grad_out, Tensor grad_x) override;
  void prior_backward(const PriorBackwardArgs& args) override;

  double mu_law_loss(ConstTensor prediction, ConstTensor truth, const float* weights, double squared,
                     Tensor grad) override;
  double structure_loss(ConstTensor prediction, ConstTensor truth, const float* weights, double scale,
                        Tensor grad) override;
  double squared_norm(const float* values, int64_t count) override;
  void adam_step(const AdamArgs& args) override;

 private:
  // On tensor cores; false: not for this shape or device, and nothing was queued.
  bool tensor_attention(const AttentionArgs& args);

  const std::unique_ptr<Device> device_;
  DeviceMemory memory_;
  const bool tensor_cores_;  // products of bfloat16 on them, where an op has such a kernel
};

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
