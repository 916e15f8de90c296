// What alignment's kernels compute (ops/cpu/align_kernels.h), as plain loops in double precision.
#pragma once

#include "ops/cpu/align_kernels.h"

namespace smhdr::reference {

void align_luminance(const float* in, int64_t channels, int64_t width, const cpu::AlignLimits& limits, float* luminance,
                     float* clipped);
void align_halve(const cpu::AlignRows& rows, int64_t in_width, int64_t out_width, float* luminance, float* clipped);
void align_level(const cpu::AlignRows& rows, int64_t width, const cpu::AlignLimits& limits, float* value,
                 uint8_t* valid);
void align_sample(const cpu::AlignField& field, const float* warp, const cpu::AlignPoints& points,
                  const cpu::AlignSamples& out);
void align_sum(const cpu::AlignPoints& points, const cpu::AlignSamples& samples, const cpu::CurvePoint* curve,
               const float* warp, const cpu::AlignFrame& frame, float tukey, int unknowns, cpu::AlignSums& out);

}  // namespace smhdr::reference
