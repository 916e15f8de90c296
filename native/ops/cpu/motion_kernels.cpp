// Patches of eight by eight pixels, a row of eight in one vector where there are such.
#include "ops/cpu/motion_kernels.h"

#include "ops/cpu/motion_rows.h"

namespace smhdr::cpu::SMHDR_ISA {
namespace {

typedef float Eight __attribute__((vector_size(32)));
typedef float EightAny __attribute__((vector_size(32), aligned(4), may_alias));
static_assert(kMotionPatch == 8);

SMHDR_INLINE Eight read(const float* p) { return *reinterpret_cast<const EightAny*>(p); }
SMHDR_INLINE void add(float* p, Eight v) { *reinterpret_cast<EightAny*>(p) = read(p) + v; }
SMHDR_INLINE float sum(Eight v) { return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7])); }
/// Between the columns x and x + 1.
SMHDR_INLINE Eight across(const float* p, float fx) {
  const Eight left = read(p);
  return left + fx * (read(p + 1) - left);
}

void texture(const float* dx, const float* dy, int64_t stride, float* sums) {
  Eight xx{}, xy{}, yy{};
  for (int64_t j = 0; j < kMotionPatch; ++j, dx += stride, dy += stride) {
    const Eight x = read(dx), y = read(dy);
    xx += x * x, xy += x * y, yy += y * y;
  }
  sums[0] = sum(xx), sums[1] = sum(xy), sums[2] = sum(yy);
}

template <bool Slopes>
SMHDR_INLINE MotionSums compared(const MotionPatch& patch) {
  Eight squares{}, x{}, y{}, upper = across(patch.moved, patch.fx);
  for (int64_t j = 0, at = 0; j < kMotionPatch; ++j, at += patch.stride) {
    const Eight lower = across(patch.moved + at + patch.stride, patch.fx);
    const Eight difference = upper + patch.fy * (lower - upper) - read(patch.value + at);
    squares += difference * difference;
    if constexpr (Slopes) x += difference * read(patch.dx + at), y += difference * read(patch.dy + at);
    upper = lower;
  }
  if constexpr (Slopes) return {sum(squares), sum(x), sum(y)};
  return {sum(squares), 0, 0};
}
MotionSums compare(const MotionPatch& patch) { return compared<true>(patch); }
float cost(const MotionPatch& patch) { return compared<false>(patch).squares; }

void spread(const float* row, const MotionPicture& to, int64_t y, const MotionPatchRow& patches, float least,
            float* weight, float* sum_u, float* sum_v) {
  const int64_t last = to.width - kMotionPatch;
  const float right = float(last), bottom = float(to.height - 1), floor = least * least;
  for (int64_t i = 0; i < patches.count; ++i) {
    const int64_t left = i * patches.step < last ? i * patches.step : last;
    const float u = patches.u[i], v = patches.v[i];
    float px = float(left) + u, py = float(y) + v;
    px = px > 0.0f ? px < right ? px : right : 0.0f;
    py = py > 0.0f ? py < bottom ? py : bottom : 0.0f;
    int64_t x0 = int64_t(px), y0 = int64_t(py);
    x0 = x0 < last - 1 ? x0 : last - 1, y0 = y0 < to.height - 2 ? y0 : to.height - 2;
    const float* at = to.value + y0 * to.width + x0;
    const Eight upper = across(at, px - float(x0)), lower = across(at + to.width, px - float(x0));
    const Eight difference = upper + (py - float(y0)) * (lower - upper) - read(row + left);
    const Eight square = difference * difference;
    const Eight w = 1.0f / (square > floor ? square : Eight{} + floor);
    add(weight + left, w), add(sum_u + left, w * u), add(sum_v + left, w * v);
  }
}

}  // namespace

extern const MotionKernels motion_kernels;
const MotionKernels motion_kernels = {add_light_row, roots_row, texture,        compare,       cost,     slopes_row,
                                      warp_row,      spread,    resistance_row, equations_row, relax_row};

}  // namespace smhdr::cpu::SMHDR_ISA
