#include "ops/reference/reference_ops.h"

#include <algorithm>

namespace smhdr {
namespace {

class ReferenceOps final : public Ops {
 public:
  const char* name() const override { return "reference"; }
  void convolution(const ConvolutionArgs& args) override { reference::convolution(args); }
  void layer_norm(ConstTensor x, NormWeights weights, Tensor out) override { reference::layer_norm(x, weights, out); }
  void mlp(const MlpArgs& args) override { reference::mlp(args); }
  void window_attention(const AttentionArgs& args) override { reference::window_attention(args); }
  void local_branch(const LocalBranchArgs& args) override { reference::local_branch(args); }
  void exposure_attention(const ExposureAttentionArgs& args) override { reference::exposure_attention(args); }
  void fold_exposure(ConstTensor features, int exposures, int slot, Tensor out) override {
    reference::fold_exposure(features, exposures, slot, out);
  }
  void prior(const PriorArgs& args) override { reference::prior(args); }
  void prior_backward(const PriorBackwardArgs& args) override { reference::prior_backward(args); }
  void copy(ConstTensor from, Tensor to) override { std::copy_n(from.data, from.size(), to.data); }
  void add(ConstTensor a, ConstTensor b, Tensor out) override {
    for (int64_t i = 0; i < out.size(); ++i) out.data[i] = a.data[i] + b.data[i];
  }

  void convolution_backward(const ConvolutionBackwardArgs& args) override { reference::convolution_backward(args); }
  void layer_norm_backward(ConstTensor x, NormWeights weights, ConstTensor grad_out, NormGradients gradients,
                           Tensor grad_x) override {
    reference::layer_norm_backward(x, weights, grad_out, gradients, grad_x);
  }
  void mlp_backward(const MlpBackwardArgs& args) override { reference::mlp_backward(args); }
  void window_attention_backward(const AttentionBackwardArgs& args) override {
    reference::window_attention_backward(args);
  }
  void local_branch_backward(const LocalBranchBackwardArgs& args) override { reference::local_branch_backward(args); }
  void exposure_attention_backward(const ExposureAttentionBackwardArgs& args) override {
    reference::exposure_attention_backward(args);
  }
  void fold_exposure_backward(ConstTensor grad_out, int exposures, int slot, Tensor grad_features) override {
    reference::fold_exposure_backward(grad_out, exposures, slot, grad_features);
  }
  void sigmoid_backward(ConstTensor out, ConstTensor grad_out, Tensor grad_x) override {
    for (int64_t i = 0; i < out.size(); ++i) grad_x.data[i] = grad_out.data[i] * out.data[i] * (1 - out.data[i]);
  }
};

}  // namespace

std::unique_ptr<Ops> make_reference_ops() { return std::make_unique<ReferenceOps>(); }

}  // namespace smhdr
