// What a training step needs besides the network: the losses and the optimiser.
#pragma once

#include "smhdr/mu_law.h"
#include "smhdr/network.h"

namespace smhdr {

class Ops;

/// Mean over all values of |W D| + `squared` / 2 |W| D^2 with D = T(prediction) - T(truth), and its gradient of the
/// prediction into `grad` (overwritten; null data: not wanted). `weights` is [batch, height, width]; null: 1.
/// method.md section 5 has the first term alone: `squared` 0.
double mu_law_loss(ConstTensor prediction, ConstTensor truth, const float* weights, double squared, Tensor grad);

/// A stand-in for the perceptual term that needs no weights of another network: with D = T(prediction) - T(truth), at
/// full, half and quarter size (means of 2x2), the mean over values of W |D's difference to the right neighbour| plus
/// that to the neighbour below, W the mean of the two pixels' weights; then the mean over the three sizes. `scale`
/// times its gradient of the prediction is added to `grad`.
double structure_loss(ConstTensor prediction, ConstTensor truth, const float* weights, double scale, Tensor grad);

/// The perceptual term of method.md section 5: the sum over VGG-19's relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 of
/// the mean absolute difference of the features of T(prediction) and T(truth), ImageNet-normalised, times W resized
/// bilinearly with aligned corners.
class VggLoss {
 public:
  /// Copies the convolutions up to relu5_1 under torchvision's names: features.0.weight [out, in, 3, 3],
  /// features.0.bias, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28. Any channel counts that fit each other are taken;
  /// others than VGG-19's own are for tests. An error names what is missing or does not fit.
  static Result<VggLoss> create(const ParameterMap& weights);

  /// By ops of the host. `scale` times the gradient of the prediction is added to `grad`. Sizes are 16 pixels or more a
  /// side.
  double operator()(Ops& ops, ConstTensor prediction, ConstTensor truth, const float* weights, double scale,
                    Tensor grad) const;

 private:
  struct Layer {
    std::vector<float> weight, bias;
    int in = 0, out = 0;
    bool pooled = false;    // 2x2 maximum before it
    bool compared = false;  // its ReLU is one of the five
  };
  using Features = std::vector<std::vector<float>>;  // the ReLU of every layer
  Features run(Ops& ops, const std::vector<float>& image, int height, int width) const;

  std::vector<Layer> layers_;
};

/// Adam (Kingma and Ba, 2015) without weight decay, bias-corrected, on one parameter.
struct AdamOptions {
  double rate = 5e-4, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
};
/// `step` counts from 1. `first` and `second` are the moments, zero before the first step.
void adam_step(const AdamOptions& options, int64_t step, int64_t count, const float* gradient, float* first,
               float* second, float* parameter);

}  // namespace smhdr
