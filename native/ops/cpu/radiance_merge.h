// The merging kernel, one copy per instruction set.
#pragma once

#include "merge/merge_model.h"
#include "ops/cpu/by_isa.h"

namespace smhdr::cpu {

/// Columns one call makes; tiles lie on this grid so that the cut into tiles never shows.
constexpr int kMergeColumns = 240;

/// Bytes of scratch memory a call needs (aligned to 64).
using MergeScratch = int64_t (*)(const MergeModel& model);
/// Rows [y0, y1) of the columns that start at x0, into `out` (row y0 of the image, interleaved RGB, `out_stride`
/// floats).
using MergeBlock = void (*)(const MergeModel& model, const ExposureRows* rows, int64_t x0, int64_t y0, int64_t y1,
                            float* out, int64_t out_stride, void* scratch);

#define SMHDR_DECLARE(isa)                                                                                   \
  namespace isa {                                                                                            \
  int64_t radiance_merge_scratch(const MergeModel& model);                                                   \
  void radiance_merge(const MergeModel& model, const ExposureRows* rows, int64_t x0, int64_t y0, int64_t y1, \
                      float* out, int64_t out_stride, void* scratch);                                        \
  }
SMHDR_DECLARE(generic)
SMHDR_DECLARE(avx2)
SMHDR_DECLARE(avx512)
SMHDR_DECLARE(neon)
#undef SMHDR_DECLARE

struct MergeKernels {
  MergeBlock merge;
  MergeScratch scratch;
};
/// Those of a set that this processor and build have.
inline MergeKernels merge_kernels(CpuIsa isa) {
  return {SMHDR_OF_ISA(isa, radiance_merge), SMHDR_OF_ISA(isa, radiance_merge_scratch)};
}

}  // namespace smhdr::cpu
