// The plain loops every other implementation is checked against. Double accumulators, no cleverness.
#pragma once

#include "ops/ops.h"

namespace smhdr::reference {

void convolution(const ConvolutionArgs& args);
void depthwise(ConstTensor x, const float* weight, const float* bias, Tensor out);
void layer_norm(ConstTensor x, NormWeights weights, Tensor out);
/// out[p] = weight [out, in] x[p] + bias (bias may be null).
void linear(ConstTensor x, const float* weight, const float* bias, Tensor out);
void mlp(const MlpArgs& args);
void window_attention(const AttentionArgs& args);
void local_branch(const LocalBranchArgs& args);
void exposure_attention(const ExposureAttentionArgs& args);
void fold_exposure(ConstTensor features, int exposures, int slot, Tensor out);
void prior(const PriorArgs& args);

void convolution_backward(const ConvolutionBackwardArgs& args);
/// grad_x is overwritten; null gradients are left out.
void depthwise_backward(ConstTensor x, const float* weight, ConstTensor grad_out, float* grad_weight, float* grad_bias,
                        Tensor grad_x);
void layer_norm_backward(ConstTensor x, NormWeights weights, ConstTensor grad_out, NormGradients gradients,
                         Tensor grad_x);
/// grad_x is overwritten (or added to, if `accumulate`); grad_bias may be null.
void linear_backward(ConstTensor x, const float* weight, ConstTensor grad_out, float* grad_weight, float* grad_bias,
                     Tensor grad_x, bool accumulate = false);
void mlp_backward(const MlpBackwardArgs& args);
void window_attention_backward(const AttentionBackwardArgs& args);
void local_branch_backward(const LocalBranchBackwardArgs& args);
void exposure_attention_backward(const ExposureAttentionBackwardArgs& args);
void prior_backward(const PriorBackwardArgs& args);
void fold_exposure_backward(ConstTensor grad_out, int exposures, int slot, Tensor grad_features);

double gelu(double x);
double gelu_slope(double x);
double sigmoid(double x);
/// Mirrors an index about the borders without repeating them (-1 -> 1); a length of 1 gives 0.
int reflect(int at, int length);

/// Applies ImageSums to the sums of each image of a batch (per pixel): shared ones replace each image's own.
void share_sums(ImageSums* sums, std::vector<std::vector<double>>& images);

/// An owned tensor for intermediates.
struct Buffer {
  std::unique_ptr<float[]> storage;
  Tensor view;
  Buffer(int batch, int height, int width, int channels)
      : storage(new float[int64_t{batch} * height * width * channels]()),
        view{storage.get(), batch, height, width, channels} {}
  static Buffer like(ConstTensor x, int channels) { return Buffer(x.batch, x.height, x.width, channels); }
};

}  // namespace smhdr::reference
