// What a training step needs besides the network: the loss and the optimiser.
#pragma once

#include "smhdr/network.h"

namespace smhdr {

/// mu-law range compression with mu = 5000 (method.md section 5).
float mu_law(float radiance);

/// Mean over all values of |W T(prediction) - W T(truth)|, and its gradient of the prediction into `grad` (overwritten;
/// null data: not wanted). `weights` is [batch, height, width]; null: 1.
double mu_law_loss(ConstTensor prediction, ConstTensor truth, const float* weights, Tensor grad);

/// Adam (Kingma and Ba, 2015) without weight decay, bias-corrected, on one parameter.
struct AdamOptions {
  double rate = 5e-4, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
};
/// `step` counts from 1. `first` and `second` are the moments, zero before the first step.
void adam_step(const AdamOptions& options, int64_t step, int64_t count, const float* gradient, float* first,
               float* second, float* parameter);

}  // namespace smhdr
