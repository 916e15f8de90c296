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

namespace {

/// body(the rows of fold.weight that channels [first, first + count) of the body take from an exposure)
template <typename Body>
void each_slot(const NetworkConfig& config, int exposure, Body body) {
  for (int slot = 0; slot < config.slots; ++slot) {
    const int first = part_start(slot, config.slots, config.width);
    body(fold_row(config, exposure, first), first, part_start(slot + 1, config.slots, config.width) - first);
  }
}

/// Rows of fold.weight [rows][width] where `rows` is their first.
Lattice rows_of(const NetworkConfig& config, float* rows) {
  return {rows, 0, int64_t{config.fold_exposures} * config.width, 1};
}

/// The middles of kernels [outputs, width, 3, 3].
Lattice middles_of(const NetworkConfig& config, float* kernel, int output) {
  return {kernel + int64_t{output} * config.width * 9 + 4, 0, int64_t{config.width} * 9, 9};
}

/// What the features of exposure i give to the body, as a 3x3 kernel [width, width, 3, 3] that is 0 but for its middle.
Buffer fold_kernel(const Pass& pass, int i) {
  const int c = pass.config.width;
  Buffer kernel = zeros(pass.ops.memory(), int64_t{c} * c * 9);
  if (!kernel) return kernel;
  float* weight = const_cast<float*>(pass.weight("fold.weight"));
  each_slot(pass.config, i, [&](int64_t at, int first, int count) {
    pass.ops.copy_pixels(
        {rows_of(pass.config, weight + at), middles_of(pass.config, kernel.data(), first), 1, count, c, 1});
  });
  return kernel;
}

}  // namespace

void fold(const Pass& pass, ConstTensor features, int i, Tensor out) {
  if (!pass.config.slots) return pass.ops.fold_exposure(features, pass.exposures, i, out);
  const Buffer kernel = fold_kernel(pass, i), no_bias = zeros(pass.ops.memory(), pass.config.width);
  if (!kernel || !no_bias) return pass.ops.memory().fail_allocation();
  pass.ops.convolution(
      {features, kernel.data(), no_bias.data(), Padding::zero, i ? out.data : nullptr, false, out, true});
}

void fold_backward(const Pass& pass, ConstTensor features, ConstTensor grad_out, int i, Tensor grad_features) {
  if (!pass.config.slots) return pass.ops.fold_exposure_backward(grad_out, pass.exposures, i, grad_features);
  const int c = pass.config.width;
  Memory& memory = pass.ops.memory();
  const Buffer kernel = fold_kernel(pass, i);
  float* gradient = pass.gradient("fold.weight");
  const Buffer grad_kernel = zeros(memory, gradient ? int64_t{c} * c * 9 : 1), rows(memory, int64_t{2} * c * c);
  if (!kernel || !grad_kernel || !rows) return memory.fail_allocation();
  pass.ops.convolution_backward({features, kernel.data(), Padding::zero, grad_out,
                                 gradient ? grad_kernel.data() : nullptr, nullptr, grad_features});
  if (!gradient) return;
  // The sums so far, and what this exposure adds to them: [channels of the slot][width].
  const Lattice sums{rows.data(), 0, c, 1}, added{rows.data() + int64_t{c} * c, 0, c, 1};
  each_slot(pass.config, i, [&](int64_t at, int first, int count) {
    pass.ops.copy_pixels({rows_of(pass.config, gradient + at), sums, 1, count, c, 1});
    pass.ops.copy_pixels({middles_of(pass.config, grad_kernel.data(), first), added, 1, count, c, 1});
    const Tensor a{sums.data, 1, 1, count, c}, b{added.data, 1, 1, count, c};
    pass.ops.add(a, b, a);
    pass.ops.copy_pixels({sums, rows_of(pass.config, gradient + at), 1, count, c, 1});
  });
}

}  // namespace smhdr::network
