// The prior radiance of one pixel, in the reference's arithmetic (double) and in the CPU's (float).
#pragma once

#include <algorithm>
#include <cmath>

#include "ops/ops.h"

namespace smhdr {

/// Keeps the logits of black and of white finite: black is 1 / mu, below which the mu-law is all but linear; white
/// is close enough to 1 to be exact to 8 bits, far enough to leave the sigmoid a slope.
constexpr double kPriorBlack = 1.0 / 5000, kPriorWhite = 1.0 / 200;

/// Adds the logits of the prior radiance at `pixel` to out[3] (PriorArgs).
template <typename Real>
void add_prior(const PriorArgs& args, int64_t pixel, float* out) {
  const Real full = args.knee[0], none = args.knee[1];
  Real radiance[3] = {}, left = 1;
  for (int i = static_cast<int>(args.exposures.size()) / 2; i >= 0; --i) {
    const float* p = args.exposures[i].data + pixel * args.exposures[i].channels;
    const Real brightest = std::max({p[3], p[4], p[5]});
    const Real trust = i == 0 ? Real(1) : std::clamp((none - brightest) / (none - full), Real(0), Real(1));
    for (int c = 0; c < 3; ++c) radiance[c] += left * trust * Real(p[c]);
    left *= 1 - trust;
    if (left == 0) break;
  }
  for (int c = 0; c < 3; ++c) {
    const Real h = std::clamp(radiance[c], Real(0), Real(1));
    out[c] += static_cast<float>(std::log((h + Real(kPriorBlack)) / (1 + Real(kPriorWhite) - h)));
  }
}

}  // namespace smhdr
