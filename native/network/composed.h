// What is linear in the network, as single convolutions. The extractor's three convolutions have nothing between them,
// nor have conv_skip and conv_end, nor conv_after_body and conv_end: away from the image's frame, where each of them
// pads for itself, they equal one convolution with a larger kernel, and few outputs are left of it:
//   a slot of the body's input   = 7x7 of its exposure:   C/n outputs instead of C that are folded (C where the fold is
//   learnt) conv_end(conv_skip(...))     = 11x11 of the reference: 3 outputs conv_end(conv_after_body(.)) = 5x5 of the
//   body:        3 outputs
// The frame is computed convolution by convolution. Saves a sixth of all multiply-adds.
#pragma once

#include "network/layers.h"

namespace smhdr {

class Composed {
 public:
  /// `parameters`, in `memory`, must outlive it. Takes some ten million multiply-adds of the host.
  Composed(const NetworkConfig& config, const ParameterMap& parameters, int exposures, Memory& memory = host_memory());

  int exposures() const { return exposures_; }
  /// Then it must not be used.
  bool lacks_memory() const { return lacks_memory_; }
  /// Smaller pictures are mostly frame, and strips of it would not fit into `scratch`.
  static bool pays(ConstTensor features) {
    return features.height >= 64 && features.width >= 64 && features.channels >= 8;
  }

  /// The folded features of all exposures into `out`; conv_end, without its bias, of conv_skip into `skip_end`
  /// [batch, height, width, 3]. `scratch` is like `out`, and overwritten.
  void extract(const network::Pass& pass, const std::vector<ConstTensor>& exposures, Tensor out, Tensor skip_end,
               Tensor scratch) const;
  /// out = conv_end(conv_after_body(x)) + skip_end, and where there is no prior its sigmoid. `scratch` is like x.
  void finish(const network::Pass& pass, ConstTensor x, Tensor skip_end, Tensor out, Tensor scratch) const;

  /// A convolution with its bias: [outputs, inputs, side, side].
  struct Kernel {
    int outputs = 0, inputs = 0, side = 0;
    std::vector<float> weight = {}, bias = {};
    OnDevice device_weight = {}, device_bias = {};
  };

 private:
  int exposures_;
  Buffer no_bias_;
  bool lacks_memory_ = false;
  std::vector<Kernel> slots_;  // one for all exposures, or one for each where the fold is learnt
  Kernel skip_, tail_;
  // The convolutions with rows and columns exchanged, for the left and right of the frame.
  std::vector<std::vector<float>> turned_;
  std::vector<OnDevice> turned_on_device_;
  ParameterMap turned_parameters_;
};

}  // namespace smhdr
