#include "ops/reference/align.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace smhdr::reference {

using namespace cpu;

void align_luminance(const float* in, int64_t channels, int64_t width, const AlignLimits& limits, float* luminance,
                     float* clipped) {
  for (int64_t x = 0; x < width; ++x) {
    const float* pixel = in + x * channels;
    const double red = pixel[0], green = pixel[channels / 2], blue = pixel[channels - 1];
    const double sum = (red + 2 * green + blue) / 4;
    luminance[x] = static_cast<float>(std::isfinite(sum) ? std::clamp(sum, 0.0, 1.0) : 1.0);
    clipped[x] = std::isfinite(sum) && std::max({red, green, blue}) < limits.clipped ? 0.0f : 1.0f;
  }
}

void align_halve(const AlignRows& rows, int64_t in_width, int64_t out_width, float* luminance, float* clipped) {
  constexpr double kWeights[] = {1, 3, 3, 1};
  for (int64_t x = 0; x < out_width; ++x) {
    double sums[2] = {};
    for (int row = 0; row < 4; ++row)
      for (int k = 0; k < 4; ++k) {
        const int64_t at = std::clamp<int64_t>(2 * x - 1 + k, 0, in_width - 1);
        sums[0] += kWeights[row] * kWeights[k] * rows.luminance[row][at] / 64;
        sums[1] += kWeights[row] * kWeights[k] * rows.clipped[row][at] / 64;
      }
    luminance[x] = static_cast<float>(sums[0]);
    clipped[x] = static_cast<float>(sums[1]);
  }
}

void align_level(const AlignRows& rows, int64_t width, const AlignLimits& limits, float* value, uint8_t* valid) {
  constexpr double kWeights[] = {1, 2, 1};
  for (int64_t x = 0; x < width; ++x) {
    double light = 0, clipped = 0;
    for (int row = 0; row < 3; ++row)
      for (int k = 0; k < 3; ++k) {
        const int64_t at = std::clamp<int64_t>(x - 1 + k, 0, width - 1);
        light += kWeights[row] * kWeights[k] * rows.luminance[row][at] / 16;
        clipped += kWeights[row] * kWeights[k] * rows.clipped[row][at] / 16;
      }
    value[x] = static_cast<float>(std::log(light + limits.log_offset));
    valid[x] = light > limits.black && clipped < limits.clipped_share;
  }
}

void align_sample(const AlignField& field, const float* warp, const AlignPoints& points, const AlignSamples& out) {
  // Catmull-Rom's weights of four neighbours for a position t between the middle two, and their slopes.
  const auto weights = [](double t, double* w, double* d) {
    w[0] = ((2 - t) * t - 1) * t / 2, d[0] = (4 - 3 * t) * t / 2 - 0.5;
    w[1] = (3 * t - 5) * t * t / 2 + 1, d[1] = (9 * t - 10) * t / 2;
    w[2] = ((4 - 3 * t) * t + 1) * t / 2, d[2] = (8 - 9 * t) * t / 2 + 0.5;
    w[3] = (t - 1) * t * t / 2, d[3] = (3 * t - 2) * t / 2;
  };
  for (int64_t i = 0; i < points.count; ++i) {
    const double px = points.x[i], py = points.y[i], d = 1 / (warp[6] * px + warp[7] * py + warp[8]);
    const double x = (warp[0] * px + warp[1] * py + warp[2]) * d, y = (warp[3] * px + warp[4] * py + warp[5]) * d;
    double value = NAN, dx = 0, dy = 0;
    if (x >= 1 && y >= 1 && x < static_cast<double>(field.width - 2) && y < static_cast<double>(field.height - 2) &&
        field.valid[int64_t(y + 0.5) * field.width + int64_t(x + 0.5)]) {
      double wx[4], wy[4], ux[4], uy[4];
      weights(x - std::floor(x), wx, ux);
      weights(y - std::floor(y), wy, uy);
      value = 0;
      for (int row = 0; row < 4; ++row)
        for (int k = 0; k < 4; ++k) {
          const double v = field.value[(int64_t(y) - 1 + row) * field.width + int64_t(x) - 1 + k];
          value += wy[row] * wx[k] * v;
          dx += wy[row] * ux[k] * v;
          dy += uy[row] * wx[k] * v;
        }
    }
    out.value[i] = static_cast<float>(value);
    if (out.dx) out.dx[i] = static_cast<float>(dx), out.dy[i] = static_cast<float>(dy);
  }
}

void align_sum(const AlignPoints& points, const AlignSamples& samples, const CurvePoint* curve, const float* warp,
               const AlignFrame& frame, float tukey, int unknowns, AlignSums& out) {
  std::fill(std::begin(out.a), std::end(out.a), 0.0);
  std::fill(std::begin(out.b), std::end(out.b), 0.0);
  for (int64_t i = 0; i < points.count; ++i) {
    const int cell = static_cast<int>(points.position[i]);
    const double t = points.position[i] - cell;
    const double expected = curve[cell].value + t * (curve[cell + 1].value - curve[cell].value);
    const double inverse_sigma =
        curve[cell].inverse_sigma + t * (curve[cell + 1].inverse_sigma - curve[cell].inverse_sigma);
    const double z = (samples.value[i] - expected) * inverse_sigma, q = 1 - z * z / (double(tukey) * tukey);
    if (!(q > 0)) continue;  // beyond the limit, or nothing seen
    const double x = points.x[i] * frame.scale_x + frame.offset_x, y = points.y[i] * frame.scale_y + frame.offset_y;
    const double d = 1 / (warp[6] * x + warp[7] * y + 1);
    const double gx = samples.dx[i] * inverse_sigma * frame.pixels_x * d,
                 gy = samples.dy[i] * inverse_sigma * frame.pixels_y * d;
    const double u = (warp[0] * x + warp[1] * y + warp[2]) * d, v = (warp[3] * x + warp[4] * y + warp[5]) * d,
                 g = -(gx * u + gy * v);
    const double homography[] = {gx * x, gx * y, gx, gy * x, gy * y, gy, g * x, g * y};
    const double similarity[] = {gx, gy, gx * x + gy * y, gy * x - gx * y};
    const double* j = unknowns == 8 ? homography : similarity;
    for (int r = 0, k = 0; r < unknowns; ++r) {
      for (int c = r; c < unknowns; ++c) out.a[k++] += q * q * j[r] * j[c];
      out.b[r] -= q * q * j[r] * z;
    }
  }
}

}  // namespace smhdr::reference
