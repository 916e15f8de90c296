// Where a pixel lies among values of squares of pixels, to go smoothly from one to the next.
#pragma once

#include <algorithm>
#include <cstdint>

namespace smhdr {

/// Between the centres of which two squares, and how far beyond the first one's.
struct CoarsePlace {
  int64_t first, second;
  double along;
};

/// Of the pixel `at` of a row or column that `count` squares of `factor` pixels make up. Beyond the outermost centres
/// it is theirs.
inline CoarsePlace coarse_place(int64_t at, int64_t factor, int64_t count) {
  const double squares = std::clamp((double(at) + 0.5) / double(factor) - 0.5, 0.0, double(count - 1));
  const auto first = int64_t(squares);
  return {first, std::min(count - 1, first + 1), squares - double(first)};
}

}  // namespace smhdr
