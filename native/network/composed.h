// What is linear in the network, as single convolutions. The extractor's three convolutions have nothing between them, nor
// have conv_skip and conv_end, nor conv_after_body and conv_end: away from the image's frame, where each of them pads for
// itself, they equal one convolution with a larger kernel, and few outputs are left of it:
//   a slot of the body's input   = 7x7 of its exposure:   C/n outputs instead of C that are folded (C where the fold is learnt)
//   conv_end(conv_skip(...))     = 11x11 of the reference: 3 outputs
//   conv_end(conv_after_body(.)) = 5x5 of the body:        3 outputs
// The frame is computed convolution by convolution. Saves a sixth of all multiply-adds.
#pragma once

#include "network/layers.h"

namespace smhdr {

class Composed {
 public:
  /// `parameters` must outlive it. Takes some ten million multiply-adds.
  Composed(const NetworkConfig& config, const ParameterMap& parameters, int exposures);

  int exposures() const { return exposures_; }
  /// Smaller pictures are mostly frame.
  static bool pays(int height, int width) { return height >= 64 && width >= 64; }

  /// The folded features of all exposures into `out`; conv_end, without its bias, of conv_skip into `skip_end`
  /// [batch, height, width, 3].
  void extract(const network::Pass& pass, const std::vector<ConstTensor>& exposures, Tensor out,
               Tensor skip_end) const;
  /// out = conv_end(conv_after_body(x)) + skip_end, and where there is no prior its sigmoid.
  void finish(const network::Pass& pass, ConstTensor x, Tensor skip_end, Tensor out) const;

  /// A convolution with its bias: [outputs, inputs, side, side].
  struct Kernel {
    int outputs, inputs, side;
    std::vector<float> weight, bias;
  };

 private:
  int exposures_;
  std::vector<Kernel> slots_;  // one for all exposures, or one for each where the fold is learnt
  Kernel skip_, tail_;
  // The convolutions with rows and columns exchanged, for the left and right of the frame.
  std::vector<std::vector<float>> turned_;
  ParameterMap turned_parameters_;
};

}  // namespace smhdr
