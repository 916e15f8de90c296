// What the kernel of sampling computes (ops/cpu/exposure_sampling.h), in plain loops and double precision.
#pragma once

#include "ops/cpu/exposure_sampling.h"

namespace smhdr::reference {

/// `rows` holds the whole exposure.
void sample_row(const cpu::SampledExposure& exposure, const ExposureRows& rows, const int32_t* columns, int count,
                int64_t y, float* out);

}  // namespace smhdr::reference
