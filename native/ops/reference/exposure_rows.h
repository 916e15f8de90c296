// An exposure's rows as plain functions in double precision: stored samples as linear light, on pixels and between.
#pragma once

#include "smhdr/merge.h"

namespace smhdr::reference {

struct StoredExposure {
  int64_t width = 0, height = 0;
  PixelDepth depth = PixelDepth::uint8;
  const float* table = nullptr;  // stored value -> linear light; null: linear already
  int64_t table_size = 0;
  ExposureRows rows;
  float gain = 1;  // on values that are linear already, before they are cut to [0, 1]
};

/// Linear light of a pixel's channel.
double linear_light(const StoredExposure& exposure, int64_t x, int64_t y, int c);

/// Light between pixels: cubic in its root, where edges are far less steep, within what the four nearest pixels say, so
/// that nothing rings. Beyond the image the border is repeated.
double light_between(const StoredExposure& exposure, double x, double y, int c);

}  // namespace smhdr::reference
