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
  void copy(ConstTensor from, Tensor to) override { std::copy_n(from.data, from.size(), to.data); }
  void add(ConstTensor a, ConstTensor b, Tensor out) override {
    for (int64_t i = 0; i < out.size(); ++i) out.data[i] = a.data[i] + b.data[i];
  }
};

}  // namespace

std::unique_ptr<Ops> make_reference_ops() { return std::make_unique<ReferenceOps>(); }

}  // namespace smhdr
