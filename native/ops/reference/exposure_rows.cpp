#include "ops/reference/exposure_rows.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace smhdr::reference {
namespace {

/// What the four pixels around a place count, `f` beyond the second of them. (Catmull and Rom, "A class of local
/// interpolating splines", 1974.)
std::array<double, 4> cubic_weights(double f) {
  const double f2 = f * f, f3 = f2 * f;
  return {-0.5 * f + f2 - 0.5 * f3, 1 - 2.5 * f2 + 1.5 * f3, 0.5 * f + 2 * f2 - 1.5 * f3, -0.5 * f2 + 0.5 * f3};
}

}  // namespace

double linear_light(const StoredExposure& e, int64_t x, int64_t y, int c) {
  const int64_t at = ((y - e.rows.begin) * e.width + x) * 3 + c;
  if (e.depth == PixelDepth::uint8) return e.table[static_cast<const uint8_t*>(e.rows.data)[at]];
  if (e.depth == PixelDepth::uint16) return e.table[static_cast<const uint16_t*>(e.rows.data)[at]];
  double value = double(static_cast<const float*>(e.rows.data)[at]) * e.gain;
  value = value > 0 ? std::min(value, 1.0) : 0;  // NaN counts as black
  if (e.table == nullptr) return value;
  const double position = value * (e.table_size - 1);
  const int64_t below = std::min<int64_t>(static_cast<int64_t>(position), e.table_size - 2);
  return e.table[below] + (position - below) * (e.table[below + 1] - e.table[below]);
}

double light_between(const StoredExposure& e, double x, double y, int c) {
  const int64_t left = std::floor(x), top = std::floor(y);
  const auto across = cubic_weights(x - left), along = cubic_weights(y - top);
  double root = 0, low = std::numeric_limits<double>::max(), high = 0;
  for (int row = 0; row < 4; ++row)
    for (int column = 0; column < 4; ++column) {
      const double tap = std::sqrt(linear_light(e, std::clamp<int64_t>(left - 1 + column, 0, e.width - 1),
                                                std::clamp<int64_t>(top - 1 + row, 0, e.height - 1), c));
      root += along[row] * across[column] * tap;
      if (row == 0 || row == 3 || column == 0 || column == 3) continue;
      low = std::min(low, tap), high = std::max(high, tap);
    }
  root = std::clamp(root, low, high);
  return root * root;
}

}  // namespace smhdr::reference
