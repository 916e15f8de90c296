#include "ops/prior.h"

#include <algorithm>
#include <cmath>

#include "ops/reference/reference_ops.h"

namespace smhdr::reference {
namespace {

/// The logits p of the plain merge at a pixel.
void prior_logits(const PriorArgs& args, int64_t pixel, double* p) {
  double radiance[3] = {}, left = 1;
  for (int i = static_cast<int>(args.exposures.size()) / 2; i >= 0; --i) {
    const float* from = args.exposures[i].data + pixel * 6;
    const double brightest = std::max({from[3], from[4], from[5]}), fall = double(args.knee[1]) - args.knee[0];
    const double trust = i == 0 ? 1 : std::clamp((args.knee[1] - brightest) / fall, 0.0, 1.0);
    for (int c = 0; c < 3; ++c) radiance[c] += left * trust * from[c];
    left *= 1 - trust;
  }
  for (int c = 0; c < 3; ++c) {
    const double h = std::clamp(radiance[c], 0.0, 1.0);
    p[c] = std::log((h + kPriorBlack) / (1 + kPriorWhite - h));
  }
}

}  // namespace

void prior(const PriorArgs& args) {
  for (int64_t pixel = 0; pixel < args.out.pixels(); ++pixel) {
    const float* z = args.x.data + pixel * 4;
    const double gate = sigmoid(z[3]);
    double p[3];
    prior_logits(args, pixel, p);
    for (int c = 0; c < 3; ++c) args.out.data[pixel * 3 + c] = static_cast<float>(sigmoid(z[c] + gate * (p[c] - z[c])));
  }
}

void prior_backward(const PriorBackwardArgs& args) {
  for (int64_t pixel = 0; pixel < args.grad_x.pixels(); ++pixel) {
    const float* z = args.forward.x.data + pixel * 4;
    const double gate = sigmoid(z[3]);
    double p[3], grad_gate = 0;
    prior_logits(args.forward, pixel, p);
    for (int c = 0; c < 3; ++c) {
      const double out = args.forward.out.data[pixel * 3 + c];
      const double grad = args.grad_out.data[pixel * 3 + c] * out * (1 - out);
      args.grad_x.data[pixel * 4 + c] = static_cast<float>(grad * (1 - gate));
      grad_gate += grad * (p[c] - z[c]);
    }
    args.grad_x.data[pixel * 4 + 3] = static_cast<float>(grad_gate * gate * (1 - gate));
  }
}

}  // namespace smhdr::reference
