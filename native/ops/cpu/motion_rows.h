// Rows of a flow's equations: slopes, weights and relaxation. Plain loops that compilers turn into vector code.
#pragma once

#include "ops/cpu/motion_kernels.h"
#include "ops/cpu/vector.h"

namespace smhdr::cpu::SMHDR_ISA {

static void add_light_row(const float* light, int64_t count, float gain, float* sum) {
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) {
    const float v = light[i] * gain, positive = v > 0.0f ? v : 0.0f;
    sum[i] += positive < 1.0f ? positive : 1.0f;
  }
}

static void roots_row(float* values, int64_t count) {
  for (int64_t i = 0; i < count; ++i) values[i] = __builtin_sqrtf(values[i]);
}

static void slopes_row(const float* above, const float* row, const float* below, int64_t width, float* dx, float* dy) {
#pragma GCC ivdep
  for (int64_t x = 1; x < width - 1; ++x) dx[x] = 0.5f * (row[x + 1] - row[x - 1]);
  for (const int64_t x : {int64_t(0), width - 1})
    dx[x] = 0.5f * (row[x + 1 < width ? x + 1 : x] - row[x > 0 ? x - 1 : x]);
#pragma GCC ivdep
  for (int64_t x = 0; x < width; ++x) dy[x] = 0.5f * (below[x] - above[x]);
}

static void warp_row(const MotionPicture& picture, const float* u, const float* v, int64_t y, float* out) {
  const float right = float(picture.width - 1), bottom = float(picture.height - 1), row = float(y);
  const int32_t width = int32_t(picture.width), last_x = width - 2, last_y = int32_t(picture.height) - 2;
  const float* value = picture.value;
#pragma GCC ivdep
  for (int32_t x = 0; x < width; ++x) {
    float px = float(x) + u[x], py = row + v[x];
    px = px > 0.0f ? px < right ? px : right : 0.0f;
    py = py > 0.0f ? py < bottom ? py : bottom : 0.0f;
    int32_t x0 = int32_t(px), y0 = int32_t(py);
    x0 = x0 < last_x ? x0 : last_x, y0 = y0 < last_y ? y0 : last_y;
    const float fx = px - float(x0), fy = py - float(y0);
    const int32_t at = y0 * width + x0;
    const float upper = value[at] + fx * (value[at + 1] - value[at]);
    const float lower = value[at + width] + fx * (value[at + width + 1] - value[at + width]);
    out[x] = upper + fy * (lower - upper);
  }
}

static void resistance_row(const MotionRows& u, const MotionRows& v, int64_t width, const MotionLimits& limits,
                           float* out) {
  const float least = limits.least_step * limits.least_step;
  const auto one = [&](int64_t x, float across_u, float across_v) {
    const float down_u = u.below[x] - u.at[x], down_v = v.below[x] - v.at[x];
    const float sum = across_u * across_u + across_v * across_v + down_u * down_u + down_v * down_v + least;
    out[x] = limits.stiffness / __builtin_sqrtf(sum);
  };
#pragma GCC ivdep
  for (int64_t x = 0; x < width - 1; ++x) one(x, u.at[x + 1] - u.at[x], v.at[x + 1] - v.at[x]);
  one(width - 1, 0.0f, 0.0f);
}

static void equations_row(const float* from, const float* dx, const float* dy, const MotionRows& warped, const float* u,
                          const float* v, const MotionRows& resistance, int64_t width, const MotionLimits& limits,
                          const MotionEquations& out) {
  const float least = limits.least_difference * limits.least_difference;
#pragma GCC ivdep
  for (int64_t x = 0; x < width - 1; ++x) out.right[x] = 0.5f * (resistance.at[x] + resistance.at[x + 1]);
  out.right[width - 1] = 0.0f;
#pragma GCC ivdep
  for (int64_t x = 0; x < width; ++x)
    out.down[x] = resistance.below ? 0.5f * (resistance.at[x] + resistance.below[x]) : 0.0f;
  // At the border the row itself, which then counts nothing.
  const float* above = resistance.above ? resistance.above : resistance.at;
  const float bound = resistance.above ? 0.5f : 0.0f;
#pragma GCC ivdep
  for (int64_t x = 0; x < width; ++x) {
    // Slopes are the mean of both pictures'.
    const float ix = 0.5f * dx[x] + 0.25f * (warped.at[x + 1] - warped.at[x - 1]);
    const float iy = 0.5f * dy[x] + 0.25f * (warped.below[x] - warped.above[x]);
    const float difference = warped.at[x] - from[x];
    const float weight = 1.0f / __builtin_sqrtf(difference * difference + least);
    // What the present flow does not explain.
    const float rest = weight * (difference - ix * u[x] - iy * v[x]);
    const float sum = out.right[x] + out.right[x - 1] + out.down[x] + bound * (above[x] + resistance.at[x]);
    const float a = sum + weight * ix * ix, b = weight * ix * iy, c = sum + weight * iy * iy;
    const float inverse = 1.0f / (a * c - b * b);
    out.xx[x] = c * inverse, out.xy[x] = -b * inverse, out.yy[x] = a * inverse;
    out.bx[x] = ix * rest, out.by[x] = iy * rest;
  }
}

/// Computes every pixel and keeps every other one: no slower than to leave gaps, and simpler.
static void relax_row(const MotionEquations& row, const float* down_above, const MotionRows& u, const MotionRows& v,
                      int64_t width, int64_t first, float relaxation, float* to_u, float* to_v) {
#pragma GCC ivdep
  for (int64_t x = 0; x < width; ++x) {
    const float left = row.right[x - 1], right = row.right[x], up = down_above[x], down = row.down[x];
    const float sx = left * u.at[x - 1] + right * u.at[x + 1] + up * u.above[x] + down * u.below[x] - row.bx[x];
    const float sy = left * v.at[x - 1] + right * v.at[x + 1] + up * v.above[x] + down * v.below[x] - row.by[x];
    const float share = ((x ^ first) & 1) == 0 ? relaxation : 0.0f;
    to_u[x] = u.at[x] + share * (row.xx[x] * sx + row.xy[x] * sy - u.at[x]);
    to_v[x] = v.at[x] + share * (row.xy[x] * sx + row.yy[x] * sy - v.at[x]);
  }
}

}  // namespace smhdr::cpu::SMHDR_ISA
