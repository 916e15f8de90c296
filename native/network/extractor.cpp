// Adaptive feature extraction: three 3x3 convolutions shared by all exposures, folded so that the body's width is the
// same for any number of exposures.
#include "network/layers.h"

namespace smhdr::network {

void extract(const Pass& pass, const std::vector<ConstTensor>& exposures, Tensor out, Tensor skip, Tensor scratch0,
             Tensor scratch1) {
  const int count = static_cast<int>(exposures.size());
  for (int i = 0; i < count; ++i) {
    pass.convolution("conv_first.0", exposures[i], Padding::reflect, scratch0);
    pass.convolution("conv_first.1", scratch0, Padding::reflect, scratch1);
    pass.convolution("conv_first.2", scratch1, Padding::reflect, scratch0);
    pass.ops.fold_exposure(scratch0, count, i, out);
    if (i == count / 2) pass.convolution("conv_skip", scratch0, Padding::zero, skip);
  }
  pass.record("conv_skip", skip);
}

}  // namespace smhdr::network
