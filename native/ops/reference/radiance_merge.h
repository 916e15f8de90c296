// The merge in plain loops over whole images: the truth the kernels are checked against, and the place to read it.
#pragma once

#include <span>

#include "merge/merge_model.h"

namespace smhdr::reference {

/// `rows` holds whole exposures (or the rows source_rows() names for the whole image); `out` is height x width x 3.
void radiance_merge(const MergeModel& model, std::span<const ExposureRows> rows, float* out);

}  // namespace smhdr::reference
