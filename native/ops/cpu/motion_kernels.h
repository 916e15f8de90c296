// What following movement computes for every patch and row of a picture, one copy per instruction set.
#pragma once

#include <cstdint>

#include "ops/cpu/by_isa.h"

namespace smhdr::cpu {

/// Patches are so many pixels wide and high.
constexpr int64_t kMotionPatch = 8;

/// A patch of one picture and its slopes, and the pixels of the other that it is compared with: those at `moved`, `fx`
/// and `fy` in [0, 1] beyond. All rows are `stride` values apart. Reads a row and a column more of `moved`.
struct MotionPatch {
  const float *value, *dx, *dy;
  const float* moved;
  int64_t stride;
  float fx, fy;
};

/// Sums over a patch of difference^2, difference * dx and difference * dy, where difference = moved - value.
struct MotionSums {
  float squares, x, y;
};

/// A picture; at least two pixels wide and high.
struct MotionPicture {
  const float* value;
  int64_t width, height;
};

/// A row of patches: u and v of each, the left edge of patch i at min(i * step, width - kMotionPatch).
struct MotionPatchRow {
  const float *u, *v;
  int64_t count, step;
};

/// Three rows of one plane. Where a kernel looks at x - 1 and x + 1 they can be read at the ends too.
struct MotionRows {
  const float *above, *at, *below;
};

/// One row of the linear equations whose solution a flow is, for every pixel: (xx xy; xy yy) (s - b), where s is the
/// neighbours' flow, weighted by `right` (its own, and at x - 1 the left one's) and `down` (its own, and the upper
/// row's).
struct MotionEquations {
  float *xx, *xy, *yy, *bx, *by, *right, *down;
};

struct MotionLimits {
  float stiffness, least_step, least_difference;
};

struct MotionKernels {
  /// Adds light times `gain`, within [0, 1], to sums; what is no number counts as 0.
  void (*add_light)(const float* light, int64_t count, float gain, float* sum);
  /// Of numbers from 0 on, in place.
  void (*roots)(float* values, int64_t count);
  /// Sums of squares and products of a patch's slopes: xx, xy, yy.
  void (*texture)(const float* dx, const float* dy, int64_t stride, float* sums);
  MotionSums (*compare)(const MotionPatch& patch);
  /// The sum of squared differences alone.
  float (*cost)(const MotionPatch& patch);
  /// Half the differences to either side; edges repeat.
  void (*slopes)(const float* above, const float* row, const float* below, int64_t width, float* dx, float* dy);
  /// Row y of a picture as it is at (x + u, y + v), bilinear, its border repeated.
  void (*warp)(const MotionPicture& picture, const float* u, const float* v, int64_t y, float* out);
  /// Adds to row y, for every patch over it, 1 / max(difference, least)^2 to `weight` and that times u and v to the
  /// sums.
  void (*spread)(const float* row, const MotionPicture& to, int64_t y, const MotionPatchRow& patches, float least,
                 float* weight, float* sum_u, float* sum_v);
  /// stiffness / sqrt(|difference to the right and lower neighbours|^2 + least_step^2) of a flow; `above` is not read.
  void (*resistance)(const MotionRows& u, const MotionRows& v, int64_t width, const MotionLimits& limits, float* out);
  /// The equations of a row, linearised about the flow u, v: `dx` and `dy` are the slopes of the picture `from`,
  /// `warped` the other one, moved by the flow. `resistance.above` and
  /// `below` are null in the first and last row.
  void (*equations)(const float* from, const float* dx, const float* dy, const MotionRows& warped, const float* u,
                    const float* v, const MotionRows& resistance, int64_t width, const MotionLimits& limits,
                    const MotionEquations& out);
  /// Moves u and v at x = first, first + 2, ... by `relaxation` times what their equations ask for; the others are
  /// copied.
  void (*relax)(const MotionEquations& row, const float* down_above, const MotionRows& u, const MotionRows& v,
                int64_t width, int64_t first, float relaxation, float* to_u, float* to_v);
};

namespace generic {
extern const MotionKernels motion_kernels;
}
namespace avx2 {
extern const MotionKernels motion_kernels;
}
namespace avx512 {
extern const MotionKernels motion_kernels;
}
namespace neon {
extern const MotionKernels motion_kernels;
}

/// Those of a set that this processor and build have.
inline const MotionKernels& motion_kernels(CpuIsa isa) { return SMHDR_OF_ISA(isa, motion_kernels); }

}  // namespace smhdr::cpu
