#include "ops/reference/motion.h"

#include <algorithm>
#include <cmath>

namespace smhdr::reference {
namespace {

using namespace cpu;

/// Bilinear, with the upper left pixel at p.
double between(const float* p, int64_t stride, double fx, double fy) {
  return (1 - fy) * ((1 - fx) * p[0] + fx * p[1]) + fy * ((1 - fx) * p[stride] + fx * p[stride + 1]);
}

/// A coordinate kept in [0, most] as the pixel before it, at most `last`, and the rest.
struct Place {
  int64_t pixel;
  double rest;
  Place(float at, double most, int64_t last) {
    const double kept = std::clamp(double(at), 0.0, most);
    pixel = std::min(int64_t(kept), last), rest = kept - double(pixel);
  }
};

}  // namespace

void motion_add_light(const float* light, int64_t count, float gain, float* sum) {
  for (int64_t i = 0; i < count; ++i) {
    const double v = double(light[i]) * gain;
    sum[i] = float(sum[i] + (v > 0 ? std::min(v, 1.0) : 0));
  }
}

void motion_roots(float* values, int64_t count) {
  for (int64_t i = 0; i < count; ++i) values[i] = float(std::sqrt(double(values[i])));
}

void motion_texture(const float* dx, const float* dy, int64_t stride, double* sums) {
  std::fill(sums, sums + 3, 0.0);
  for (int64_t j = 0; j < kMotionPatch; ++j)
    for (int64_t i = 0; i < kMotionPatch; ++i) {
      const double x = dx[j * stride + i], y = dy[j * stride + i];
      sums[0] += x * x, sums[1] += x * y, sums[2] += y * y;
    }
}

void motion_compare(const MotionPatch& patch, double* sums) {
  std::fill(sums, sums + 3, 0.0);
  for (int64_t j = 0; j < kMotionPatch; ++j)
    for (int64_t i = 0; i < kMotionPatch; ++i) {
      const int64_t at = j * patch.stride + i;
      const double difference = between(patch.moved + at, patch.stride, patch.fx, patch.fy) - patch.value[at];
      sums[0] += difference * difference, sums[1] += difference * patch.dx[at], sums[2] += difference * patch.dy[at];
    }
}

void motion_slopes(const float* above, const float* row, const float* below, int64_t width, float* dx, float* dy) {
  for (int64_t x = 0; x < width; ++x) {
    dx[x] = float(0.5 * (double(row[std::min(x + 1, width - 1)]) - row[std::max<int64_t>(x - 1, 0)]));
    dy[x] = float(0.5 * (double(below[x]) - above[x]));
  }
}

void motion_warp(const MotionPicture& picture, const float* u, const float* v, int64_t y, float* out) {
  for (int64_t x = 0; x < picture.width; ++x) {
    const Place px(float(x) + u[x], double(picture.width - 1), picture.width - 2);
    const Place py(float(y) + v[x], double(picture.height - 1), picture.height - 2);
    const float* at = picture.value + py.pixel * picture.width + px.pixel;
    out[x] = float(between(at, picture.width, px.rest, py.rest));
  }
}

void motion_spread(const float* row, const MotionPicture& to, int64_t y, const MotionPatchRow& patches, float least,
                   float* weight, float* sum_u, float* sum_v) {
  const int64_t last = to.width - kMotionPatch;
  for (int64_t i = 0; i < patches.count; ++i) {
    const int64_t left = std::min(i * patches.step, last);
    const Place px(float(left) + patches.u[i], double(last), last - 1);
    const Place py(float(y) + patches.v[i], double(to.height - 1), to.height - 2);
    const float* at = to.value + py.pixel * to.width + px.pixel;
    for (int64_t k = 0; k < kMotionPatch; ++k) {
      const double difference = between(at + k, to.width, px.rest, py.rest) - row[left + k];
      const double w = 1 / std::max(difference * difference, double(least) * least);
      weight[left + k] += float(w), sum_u[left + k] += float(w * patches.u[i]),
          sum_v[left + k] += float(w * patches.v[i]);
    }
  }
}

void motion_resistance(const MotionRows& u, const MotionRows& v, int64_t width, const MotionLimits& limits,
                       float* out) {
  for (int64_t x = 0; x < width; ++x) {
    double sum = double(limits.least_step) * limits.least_step;
    for (const MotionRows* plane : {&u, &v}) {
      const double across = x + 1 < width ? double(plane->at[x + 1]) - plane->at[x] : 0;
      const double down = double(plane->below[x]) - plane->at[x];
      sum += across * across + down * down;
    }
    out[x] = float(limits.stiffness / std::sqrt(sum));
  }
}

void motion_equations(const float* from, const float* dx, const float* dy, const MotionRows& warped, const float* u,
                      const float* v, const MotionRows& resistance, int64_t width, const MotionLimits& limits,
                      const MotionEquations& out) {
  for (int64_t x = 0; x < width; ++x) {
    out.right[x] = x + 1 < width ? float(0.5 * (double(resistance.at[x]) + resistance.at[x + 1])) : 0.0f;
    out.down[x] = resistance.below ? float(0.5 * (double(resistance.at[x]) + resistance.below[x])) : 0.0f;
    const double ix = 0.5 * dx[x] + 0.25 * (double(warped.at[x + 1]) - warped.at[x - 1]);
    const double iy = 0.5 * dy[x] + 0.25 * (double(warped.below[x]) - warped.above[x]);
    const double difference = double(warped.at[x]) - from[x];
    const double weight =
        1 / std::sqrt(difference * difference + double(limits.least_difference) * limits.least_difference);
    const double rest = weight * (difference - ix * u[x] - iy * v[x]);
    const double up = resistance.above ? 0.5 * (double(resistance.above[x]) + resistance.at[x]) : 0;
    const double sum = double(out.right[x]) + out.right[x - 1] + out.down[x] + up;
    const double a = sum + weight * ix * ix, b = weight * ix * iy, c = sum + weight * iy * iy;
    const double determinant = a * c - b * b;
    out.xx[x] = float(c / determinant), out.xy[x] = float(-b / determinant), out.yy[x] = float(a / determinant);
    out.bx[x] = float(ix * rest), out.by[x] = float(iy * rest);
  }
}

void motion_relax(const MotionEquations& row, const float* down_above, const MotionRows& u, const MotionRows& v,
                  int64_t width, int64_t first, float relaxation, float* to_u, float* to_v) {
  const auto pulled = [&](const MotionRows& plane, int64_t x) {
    return double(row.right[x - 1]) * plane.at[x - 1] + double(row.right[x]) * plane.at[x + 1] +
           double(down_above[x]) * plane.above[x] + double(row.down[x]) * plane.below[x];
  };
  std::copy(u.at, u.at + width, to_u), std::copy(v.at, v.at + width, to_v);
  for (int64_t x = first; x < width; x += 2) {
    const double sx = pulled(u, x) - row.bx[x], sy = pulled(v, x) - row.by[x];
    const double own_u = u.at[x], own_v = v.at[x];
    to_u[x] = float(own_u + relaxation * (row.xx[x] * sx + row.xy[x] * sy - own_u));
    to_v[x] = float(own_v + relaxation * (row.xy[x] * sx + row.yy[x] * sy - own_v));
  }
}

}  // namespace smhdr::reference
