#include "ops/prior.h"

#include <algorithm>
#include <cmath>

#include "ops/reference/reference_ops.h"

namespace smhdr::reference {
namespace {

/// The logits p of the given radiance at a pixel.
void prior_logits(const PriorArgs& args, int64_t pixel, double* p) {
  for (int c = 0; c < 3; ++c) {
    const double h = std::clamp(double(args.prior.data[pixel * 6 + c]), 0.0, 1.0);
    p[c] = std::log((h + kPriorBlack) / (1 + kPriorWhite - h));
  }
}

}  // namespace

void prior(const PriorArgs& args) {
  for (int64_t pixel = 0; pixel < args.out.pixels(); ++pixel) {
    const float* z = args.x.data + pixel * 4;
    const double gate = args.share * sigmoid(z[3]);
    double p[3];
    prior_logits(args, pixel, p);
    for (int c = 0; c < 3; ++c) args.out.data[pixel * 3 + c] = static_cast<float>(sigmoid(z[c] + gate * (p[c] - z[c])));
  }
}

void prior_backward(const PriorBackwardArgs& args) {
  for (int64_t pixel = 0; pixel < args.grad_x.pixels(); ++pixel) {
    const float* z = args.forward.x.data + pixel * 4;
    const double open = sigmoid(z[3]), gate = args.forward.share * open;
    double p[3], grad_gate = 0;
    prior_logits(args.forward, pixel, p);
    for (int c = 0; c < 3; ++c) {
      const double out = args.forward.out.data[pixel * 3 + c];
      const double grad = args.grad_out.data[pixel * 3 + c] * out * (1 - out);
      args.grad_x.data[pixel * 4 + c] = static_cast<float>(grad * (1 - gate));
      grad_gate += grad * (p[c] - z[c]);
    }
    args.grad_x.data[pixel * 4 + 3] = static_cast<float>(grad_gate * gate * (1 - open) + args.gate_pull * z[3]);
  }
}

}  // namespace smhdr::reference
