#include "network/fold.h"

#include "network/layers.h"

namespace smhdr::network {

int64_t fold_row(const NetworkConfig& config, int exposure, int channel) {
  const int c = config.width, widest = (c + config.slots - 1) / config.slots;
  int slot = 0;
  while (part_start(slot + 1, config.slots, c) <= channel) ++slot;
  const int64_t row = int64_t{slot} * widest + channel - part_start(slot, config.slots, c);
  return (row * config.fold_exposures + exposure) * c;
}

std::vector<float> fold_kernel(const NetworkConfig& config, const float* weight, int exposure) {
  const int c = config.width;
  std::vector<float> kernel(size_t(c) * c * 9);
  for (int o = 0; o < c; ++o) {
    const float* row = weight + fold_row(config, exposure, o);
    for (int i = 0; i < c; ++i) kernel[(size_t(o) * c + i) * 9 + 4] = row[i];
  }
  return kernel;
}

void fold(const Pass& pass, ConstTensor features, int i, Tensor out) {
  if (!pass.config.slots) return pass.ops.fold_exposure(features, pass.exposures, i, out);
  const std::vector<float> kernel = fold_kernel(pass.config, pass.weight("fold.weight"), i),
                           no_bias(pass.config.width);
  pass.ops.convolution(
      {features, kernel.data(), no_bias.data(), Padding::zero, i ? out.data : nullptr, false, out, true});
}

void fold_backward(const Pass& pass, ConstTensor features, ConstTensor grad_out, int i, Tensor grad_features) {
  if (!pass.config.slots) return pass.ops.fold_exposure_backward(grad_out, pass.exposures, i, grad_features);
  const int c = pass.config.width;
  const std::vector<float> kernel = fold_kernel(pass.config, pass.weight("fold.weight"), i);
  float* gradient = pass.gradient("fold.weight");
  std::vector<float> grad_kernel(gradient ? kernel.size() : 0);
  pass.ops.convolution_backward({features, kernel.data(), Padding::zero, grad_out,
                                 gradient ? grad_kernel.data() : nullptr, nullptr, grad_features});
  if (!gradient) return;
  for (int o = 0; o < c; ++o) {
    float* row = gradient + fold_row(pass.config, i, o);
    for (int k = 0; k < c; ++k) row[k] += grad_kernel[(size_t(o) * c + k) * 9 + 4];
  }
}

}  // namespace smhdr::network
