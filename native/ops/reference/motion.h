// What the kernels of following movement compute (ops/cpu/motion_kernels.h), as plain loops in double precision.
#pragma once

#include "ops/cpu/motion_kernels.h"

namespace smhdr::reference {

void motion_add_light(const float* light, int64_t count, float gain, float* sum);
void motion_roots(float* values, int64_t count);
void motion_texture(const float* dx, const float* dy, int64_t stride, double* sums);
/// squares, x and y of MotionSums.
void motion_compare(const cpu::MotionPatch& patch, double* sums);
void motion_slopes(const float* above, const float* row, const float* below, int64_t width, float* dx, float* dy);
void motion_warp(const cpu::MotionPicture& picture, const float* u, const float* v, int64_t y, float* out);
void motion_spread(const float* row, const cpu::MotionPicture& to, int64_t y, const cpu::MotionPatchRow& patches,
                   float least, float* weight, float* sum_u, float* sum_v);
void motion_resistance(const cpu::MotionRows& u, const cpu::MotionRows& v, int64_t width,
                       const cpu::MotionLimits& limits, float* out);
void motion_equations(const float* from, const float* dx, const float* dy, const cpu::MotionRows& warped,
                      const float* u, const float* v, const cpu::MotionRows& resistance, int64_t width,
                      const cpu::MotionLimits& limits, const cpu::MotionEquations& out);
void motion_relax(const cpu::MotionEquations& row, const float* down_above, const cpu::MotionRows& u,
                  const cpu::MotionRows& v, int64_t width, int64_t first, float relaxation, float* to_u, float* to_v);

}  // namespace smhdr::reference
