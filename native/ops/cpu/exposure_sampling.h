// Exposures as the network reads them: six values a pixel, one copy of the kernel per instruction set.
#pragma once

#include "ops/cpu/by_isa.h"
#include "smhdr/merge.h"

namespace smhdr::cpu {

/// Of the table of a curve; its step k holds the curve at light (k / kCurveSteps)^2, and there is one step beyond 1.
constexpr int kCurveSteps = 4096;
/// Most columns of one call.
constexpr int kSampledColumns = 256;

struct SampledExposure {
  int64_t width = 0, height = 0;
  PixelDepth depth = PixelDepth::uint8;
  const float* table = nullptr;  // stored value -> linear light; null: linear already
  int64_t table_size = 0;
  float gain = 1;  // on values that are linear already, before they are cut to [0, 1]
  bool aligned = false;
  double homography[9] = {};  // pixel centres of the image -> the exposure's
  float scale = 1;            // radiance of linear light 1.0
  const float* curve = nullptr;
};

/// The pixels columns[0 .. count) of some rows of the image, each row of the result `out_stride` floats after the last:
/// linear light times `scale` RGB, then the curve of it RGB. What lies between pixels is cubic in the root of light,
/// within what the four nearest say; beyond the exposure its border repeats, as it does where `rows` ends. `columns`
/// has kSampledColumns entries; all columns and lines are inside the image.
using SampleRows = void (*)(const SampledExposure& exposure, const ExposureRows& rows, const int32_t* columns,
                            int count, const int32_t* lines, int line_count, float* out, int64_t out_stride);

#define SMHDR_DECLARE(isa)                                                                                       \
  namespace isa {                                                                                                \
  void sample_rows(const SampledExposure& exposure, const ExposureRows& rows, const int32_t* columns, int count, \
                   const int32_t* lines, int line_count, float* out, int64_t out_stride);                        \
  }
SMHDR_DECLARE(generic)
SMHDR_DECLARE(avx2)
SMHDR_DECLARE(avx512)
SMHDR_DECLARE(neon)
#undef SMHDR_DECLARE

/// That of a set that this processor and build have.
inline SampleRows sample_rows(CpuIsa isa) { return SMHDR_OF_ISA(isa, sample_rows); }

}  // namespace smhdr::cpu
