// mu-law range compression of radiance in [0, 1] (method.md section 5).
#pragma once

#include <cmath>

namespace smhdr {

constexpr double kMu = 5000;

/// ln(1 + mu radiance) / ln(1 + mu), and its derivative.
inline double mu_law(double radiance) { return std::log1p(kMu * radiance) / std::log1p(kMu); }
inline double mu_law_slope(double radiance) { return kMu / (std::log1p(kMu) * (1 + kMu * radiance)); }

}  // namespace smhdr
