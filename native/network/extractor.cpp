// Adaptive feature extraction: three 3x3 convolutions shared by all exposures, folded so that the body's width is the
// same for any number of exposures.
#include "network/layers.h"

namespace smhdr::network {

void extract(const Pass& pass, const std::vector<ConstTensor>& exposures, Tensor out, Tensor skip, Tensor scratch0,
             Tensor scratch1) {
  const int count = static_cast<int>(exposures.size()), reference = pass.config.reference(count);
  for (int i = 0; i < count; ++i) {
    pass.convolution("conv_first.0", exposures[i], Padding::reflect, scratch0);
    pass.convolution("conv_first.1", scratch0, Padding::reflect, scratch1);
    pass.convolution("conv_first.2", scratch1, Padding::reflect, scratch0);
    fold(pass, scratch0, i, out);
    if (i == reference) pass.convolution("conv_skip", scratch0, Padding::zero, skip);
  }
  pass.record("conv_skip", skip);
}

Status extract_backward(const Pass& pass, const std::vector<ConstTensor>& exposures, ConstTensor grad_out,
                        ConstTensor grad_skip, const std::vector<Tensor>& input_gradients) {
  const int count = static_cast<int>(exposures.size()), reference = pass.config.reference(count);
  const Workspace w(pass.ops.memory(), grad_out.batch, grad_out.height, grad_out.width, grad_out.channels, 5);
  if (!w)
    return Error{ErrorCode::out_of_memory, "Not enough memory for the extractor's gradients; use a smaller batch."};
  const Tensor first = w[0], second = w[1], features = w[2], grad = w[3], other = w[4];
  for (int i = 0; i < count; ++i) {
    pass.convolution("conv_first.0", exposures[i], Padding::reflect, first);
    pass.convolution("conv_first.1", first, Padding::reflect, second);
    if (i == reference || pass.config.slots) pass.convolution("conv_first.2", second, Padding::reflect, features);
    fold_backward(pass, features, grad_out, i, grad);
    if (i == reference) {
      pass.convolution_backward("conv_skip", features, Padding::zero, grad_skip, other);
      pass.ops.add(grad, other, grad);
    }
    pass.convolution_backward("conv_first.2", second, Padding::reflect, grad, other);
    pass.convolution_backward("conv_first.1", first, Padding::reflect, other, grad);
    pass.convolution_backward("conv_first.0", exposures[i], Padding::reflect, grad,
                              input_gradients.empty() ? Tensor{} : input_gradients[i]);
  }
  return {};
}

}  // namespace smhdr::network
