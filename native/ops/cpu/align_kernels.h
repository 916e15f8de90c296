// What alignment computes for every pixel of its scales and for every textured point, one copy per instruction set.
#pragma once

#include <cstdint>

#include "ops/cpu/by_isa.h"

namespace smhdr::cpu {

/// Points come in whole groups of so many; unused places lie where nothing is seen (kNowhere).
constexpr int64_t kPointGroup = 16;
constexpr float kNowhere = -1e9f;

/// One scale of the exposure that is looked at: log luminance, and which pixels are well exposed.
struct AlignField {
  const float* value;
  const uint8_t* valid;
  int64_t width, height;
};

/// Points of the reference, in its pixels, and where each stands in the table of the brightness curve.
struct AlignPoints {
  const float *x, *y, *position;
  int64_t count;  // a multiple of kPointGroup
};

/// Value and gradient of the other exposure at each point; NaN and 0 where it shows nothing.
struct AlignSamples {
  float *value, *dx, *dy;  // dx and dy may both be null
};

/// The brightness curve: value expected and 1 / its spread, at whole positions.
struct CurvePoint {
  float value, inverse_sigma;
};

/// How the eight parameters of the warp move a point: pixel x of the reference is scale_x x + offset_x in the frame, of
/// which a unit has pixels_x pixels.
struct AlignFrame {
  float scale_x, offset_x, scale_y, offset_y, pixels_x, pixels_y;
};

/// Unknowns: 2 (shift), 4 (and turn and size: h00 = h11, h10 = -h01) or 8 (homography). `a`: the upper triangle, row
/// by row; both are set.
struct AlignSums {
  double a[36], b[8];
};

/// Rows of one scale: linear luminance, and the share of it that is clipped (a plane each).
struct AlignRows {
  const float *luminance[4], *clipped[4];
};

/// When a pixel counts as clipped or black, and what is added before the logarithm; linear light.
struct AlignLimits {
  float clipped, clipped_share, black, log_offset;
};

struct AlignKernels {
  /// Luminance, in [0, 1], and clipping of a row of `channels` (1 or 3) interleaved linear values; NaN and infinities
  /// count as clipped.
  void (*luminance)(const float* in, int64_t channels, int64_t width, const AlignLimits& limits, float* luminance,
                    float* clipped);
  /// A row of half the size by the binomial filter 1 3 3 1 in both directions, from four of `in_width`; edges repeat.
  void (*halve)(const AlignRows& rows, int64_t in_width, int64_t out_width, float* luminance, float* clipped);
  /// Smoothed (1 2 1 in both directions, from three rows; edges repeat) log luminance, and whether the pixel is neither
  /// clipped nor black.
  void (*level)(const AlignRows& rows, int64_t width, const AlignLimits& limits, float* value, uint8_t* valid);
  /// Catmull-Rom interpolation at the points, moved by `warp` (3x3, pixels to pixels).
  void (*sample)(const AlignField& field, const float* warp, const AlignPoints& points, const AlignSamples& out);
  /// Sums of the normal equations of Tukey's biweight with the limit `tukey`; `warp` (3x3) in the frame.
  void (*sum)(const AlignPoints& points, const AlignSamples& samples, const CurvePoint* curve, const float* warp,
              const AlignFrame& frame, float tukey, int unknowns, AlignSums& out);
};

namespace generic {
extern const AlignKernels align_kernels;
}
namespace avx2 {
extern const AlignKernels align_kernels;
}
namespace avx512 {
extern const AlignKernels align_kernels;
}
namespace neon {
extern const AlignKernels align_kernels;
}

/// Those of a set that this processor and build have.
inline const AlignKernels& align_kernels(CpuIsa isa) { return SMHDR_OF_ISA(isa, align_kernels); }

}  // namespace smhdr::cpu
