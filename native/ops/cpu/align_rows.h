// A row of alignment's scales: columns first, over a stretch that stays in cache, then along the row.
#pragma once

#include "ops/cpu/align_kernels.h"
#include "ops/cpu/vector.h"

namespace smhdr::cpu::SMHDR_ISA {

constexpr int64_t kStretch = 512;  // pixels of a row worked on together

SMHDR_INLINE float within(float x, float low, float high) { return x > low ? x < high ? x : high : low; }
SMHDR_INLINE int64_t at_edge(int64_t x, int64_t width) { return x < 0 ? 0 : x < width ? x : width - 1; }

static void luminance_row(const float* in, int64_t channels, int64_t width, const AlignLimits& limits, float* luminance,
                          float* clipped) {
  for (int64_t x = 0; x < width; ++x, in += channels) {
    const float green = channels == 3 ? in[1] : in[0], blue = channels == 3 ? in[2] : in[0];
    const float sum = 0.25f * in[0] + 0.5f * green + 0.25f * blue;
    const bool finite = sum - sum == 0;  // neither NaN nor infinite
    const bool good = in[0] < limits.clipped && green < limits.clipped && blue < limits.clipped && finite;
    luminance[x] = finite ? within(sum, 0.0f, 1.0f) : 1.0f;
    clipped[x] = good ? 0.0f : 1.0f;
  }
}

static void halve_row(const AlignRows& rows, int64_t in_width, int64_t out_width, float* luminance, float* clipped) {
  alignas(64) float column[2 * kStretch + 8];
  for (int plane = 0; plane < 2; ++plane) {
    const float* const* row = plane ? rows.clipped : rows.luminance;
    float* out = plane ? clipped : luminance;
    for (int64_t begin = 0; begin < out_width; begin += kStretch) {
      const int64_t end = begin + kStretch < out_width ? begin + kStretch : out_width, first = 2 * begin - 1;
      const auto down = [&](int64_t x) {
        const int64_t i = at_edge(x, in_width);
        return row[0][i] + row[3][i] + 3.0f * (row[1][i] + row[2][i]);
      };
      const int64_t last = 2 * end + 1 < in_width ? 2 * end + 1 : in_width;  // columns [first, 2 end]
      column[0] = down(first);
      for (int64_t x = first + 1; x < last; ++x)
        column[x - first] = row[0][x] + row[3][x] + 3.0f * (row[1][x] + row[2][x]);
      for (int64_t x = last; x <= 2 * end; ++x) column[x - first] = down(x);
      for (int64_t x = begin; x < end; ++x) {
        const float* c = column + 2 * (x - begin);
        out[x] = (c[0] + c[3] + 3.0f * (c[1] + c[2])) * (1.0f / 64.0f);
      }
    }
  }
}

static void level_row(const AlignRows& rows, int64_t width, const AlignLimits& limits, float* value, uint8_t* valid) {
  alignas(64) float smooth[2][kStretch], column[kStretch + 8];
  for (int64_t begin = 0; begin < width; begin += kStretch) {
    const int64_t n = begin + kStretch < width ? kStretch : width - begin;
    for (int plane = 0; plane < 2; ++plane) {
      const float* const* row = plane ? rows.clipped : rows.luminance;
      const float *above = row[0] + begin, *here = row[1] + begin, *below = row[2] + begin;
      const auto down = [&](int64_t x) {
        const int64_t i = at_edge(x, width);
        return row[0][i] + 2.0f * row[1][i] + row[2][i];
      };
      for (int64_t x = 0; x < n; ++x) column[x + 1] = above[x] + 2.0f * here[x] + below[x];
      column[0] = down(begin - 1), column[n + 1] = down(begin + n);
      for (int64_t x = 0; x < n; ++x)
        smooth[plane][x] = (column[x] + 2.0f * column[x + 1] + column[x + 2]) * (1.0f / 16.0f);
    }
    for (int64_t x = 0; x < n; ++x)
      valid[begin + x] = smooth[0][x] > limits.black && smooth[1][x] < limits.clipped_share;
    // The stretch's rest is not looked at, only kept from being no numbers.
    for (int64_t x = n; x < (n + kLanes - 1) / kLanes * kLanes; ++x) smooth[0][x] = 1;
    for (int64_t x = 0; x < n; x += kLanes) {
      const Vec log = natural_log(load(smooth[0] + x) + limits.log_offset);
      store_some(value + begin + x, log, n - x < kLanes ? static_cast<int>(n - x) : kLanes);
    }
  }
}

}  // namespace smhdr::cpu::SMHDR_ISA
