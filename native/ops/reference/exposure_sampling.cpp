#include "ops/reference/exposure_sampling.h"

#include <algorithm>
#include <cmath>

#include "ops/reference/exposure_rows.h"

namespace smhdr::reference {

void sample_row(const cpu::SampledExposure& e, const ExposureRows& rows, const int32_t* columns, int count, int64_t y,
                float* out) {
  const StoredExposure stored{e.width, e.height, e.depth, e.table, e.table_size, rows, e.gain};
  const auto inside = [](double at, int64_t length) { return at > 0 ? std::min(at, double(length - 1)) : 0; };
  for (int i = 0; i < count; ++i)
    for (int c = 0; c < 3; ++c) {
      double light;
      if (e.aligned) {
        const double* h = e.homography;
        const double x = columns[i], w = h[6] * x + h[7] * y + h[8];
        const double sx = (h[0] * x + h[1] * y + h[2]) / w, sy = (h[3] * x + h[4] * y + h[5]) / w;
        light = light_between(stored, inside(sx, e.width), inside(sy, e.height), c);
      } else {
        light = linear_light(stored, columns[i], y, c);
      }
      const double place = std::sqrt(light) * cpu::kCurveSteps;
      const int below = static_cast<int>(place);
      out[6 * i + c] = static_cast<float>(light * e.scale);
      out[6 * i + 3 + c] =
          static_cast<float>(e.curve[below] + (place - below) * (double(e.curve[below + 1]) - e.curve[below]));
    }
}

}  // namespace smhdr::reference
