// An exposure as alignment sees it: log luminance at several scales, and which pixels are well exposed.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "smhdr/align.h"

namespace smhdr::align {

/// One scale. `value` = log(Y + kLogOffset), slightly smoothed so that interpolation is accurate; `valid` marks pixels
/// neither clipped nor black. Pixel centres are at integers; a pixel is `step` pixels of the finest level wide.
struct Level {
  int64_t width = 0, height = 0;
  double step = 1;
  std::vector<float> value;
  std::vector<uint8_t> valid;

  int64_t longer_side() const { return width > height ? width : height; }
};

/// Linear light added before the logarithm: about where a camera's shadows drown in noise and quantisation.
constexpr float kLogOffset = 0.002f;
inline const float kLowestValue = std::log(kLogOffset);
inline const float kHighestValue = std::log(1.0f + kLogOffset);

/// Finest level first, halved until the longer side is at most 96 pixels.
std::vector<Level> build_pyramid(const AlignImage& image, ThreadPool& pool);

struct Sample {
  float value, dx, dy;
};

/// Value and gradient at (x, y) by Catmull-Rom interpolation; false outside the image or where badly exposed.
inline bool sample(const Level& level, float x, float y, Sample& out) {
  // Written so that NaN fails too.
  if (!(x >= 1.0f && y >= 1.0f && x < float(level.width - 2) && y < float(level.height - 2))) return false;
  const int64_t x0 = int64_t(x), y0 = int64_t(y);
  const float fx = x - float(x0), fy = y - float(y0);
  if (!level.valid[(y0 + (fy >= 0.5f)) * level.width + x0 + (fx >= 0.5f)]) return false;
  const auto weights = [](float t, float* w, float* d) {
    w[0] = t * (-0.5f + t * (1.0f - 0.5f * t)), d[0] = -0.5f + t * (2.0f - 1.5f * t);
    w[1] = 1.0f + t * t * (-2.5f + 1.5f * t), d[1] = t * (-5.0f + 4.5f * t);
    w[2] = t * (0.5f + t * (2.0f - 1.5f * t)), d[2] = 0.5f + t * (4.0f - 4.5f * t);
    w[3] = t * t * (-0.5f + 0.5f * t), d[3] = t * (-1.0f + 1.5f * t);
  };
  float wx[4], wy[4], ux[4], uy[4];
  weights(fx, wx, ux);
  weights(fy, wy, uy);
  const float* row = level.value.data() + (y0 - 1) * level.width + x0 - 1;
  float column[4] = {}, column_dy[4] = {};
  for (int j = 0; j < 4; ++j, row += level.width)
    for (int i = 0; i < 4; ++i) column[i] += wy[j] * row[i], column_dy[i] += uy[j] * row[i];
  out = {0, 0, 0};
  for (int i = 0; i < 4; ++i) {
    out.value += wx[i] * column[i];
    out.dx += ux[i] * column[i];
    out.dy += wx[i] * column_dy[i];
  }
  return true;
}

}  // namespace smhdr::align
