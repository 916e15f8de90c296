// Homographies in coordinates that do not depend on a picture's scale.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>

namespace smhdr::align {

/// A 3x3 matrix, row by row.
using Matrix = std::array<double, 9>;
constexpr Matrix kIdentity = {1, 0, 0, 0, 1, 0, 0, 0, 1};

inline Matrix multiply(const Matrix& a, const Matrix& b) {
  Matrix out{};
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j)
      for (int k = 0; k < 3; ++k) out[3 * i + j] += a[3 * i + k] * b[3 * k + j];
  return out;
}

/// Scaled so that the last element is 1.
inline Matrix normalised(Matrix m) {
  const double last = m[8];
  for (double& element : m) element /= last;
  return m;
}

/// Scaled as normalised() does. The matrix must not be singular.
inline Matrix inverse(const Matrix& m) {
  const auto c = [&](int i, int j, int k, int l) { return m[i] * m[j] - m[k] * m[l]; };
  return normalised({c(4, 8, 5, 7), c(2, 7, 1, 8), c(1, 5, 2, 4), c(5, 6, 3, 8), c(0, 8, 2, 6), c(2, 3, 0, 5),
                     c(3, 7, 4, 6), c(1, 6, 0, 7), c(0, 4, 1, 3)});
}

struct Position {
  double x, y;
};
inline Position apply(const Matrix& m, double x, double y) {
  const double d = m[6] * x + m[7] * y + m[8];
  return {(m[0] * x + m[1] * y + m[2]) / d, (m[3] * x + m[4] * y + m[5]) / d};
}

/// Pixel centres at integers <-> the frame: centre of the image at 0, half its longer side = 1. A warp in the frame is
/// the same at every scale; only the grid differs.
struct Grid {
  double columns, rows;       // size of the image on this grid, a fraction of a pixel left over at coarse levels
  double pixels_x, pixels_y;  // pixels per unit of the frame

  Grid(double width, double height, double step_x = 1, double step_y = 1)
      : columns(width / step_x), rows(height / step_y) {
    const double half = 0.5 * std::max(width, height);
    pixels_x = half / step_x;
    pixels_y = half / step_y;
  }
  Position to_frame(double x, double y) const {
    return {(x + 0.5 - 0.5 * columns) / pixels_x, (y + 0.5 - 0.5 * rows) / pixels_y};
  }
  /// The warp of the frame, as a map of pixel centres.
  Matrix on_pixels(const Matrix& warp) const {
    const double ox = 0.5 * columns - 0.5, oy = 0.5 * rows - 0.5;
    const Matrix to = {1 / pixels_x, 0, -ox / pixels_x, 0, 1 / pixels_y, -oy / pixels_y, 0, 0, 1};
    const Matrix from = {pixels_x, 0, ox, 0, pixels_y, oy, 0, 0, 1};
    return normalised(multiply(multiply(from, warp), to));
  }
  /// Distances, in pixels, between where two warps of the frame send the corners, the middles of the edges and the
  /// centre.
  struct Distance {
    double largest = 0, mean = 0;
  };
  Distance distances(const Matrix& a, const Matrix& b) const {
    Distance result;
    for (int j = -1; j <= 1; ++j)
      for (int i = -1; i <= 1; ++i) {
        const double u = i * 0.5 * columns / pixels_x, v = j * 0.5 * rows / pixels_y;
        const Position p = apply(a, u, v), q = apply(b, u, v);
        const double apart = std::hypot((p.x - q.x) * pixels_x, (p.y - q.y) * pixels_y);
        result.largest = std::max(result.largest, apart);
        result.mean += apart / 9;
      }
    return result;
  }
  double distance(const Matrix& a, const Matrix& b) const { return distances(a, b).largest; }
};

}  // namespace smhdr::align
