#include <algorithm>
#include <utility>

#include "core/cpu_isa.h"
#include "motion/flow.h"
#include "ops/cpu/motion_kernels.h"

namespace smhdr::motion {
namespace {

constexpr int kLinearisations = 3, kSweeps = 3;
constexpr float kRelaxation = 1.6f;
constexpr cpu::MotionLimits kLimits = {/*stiffness=*/0.05f, /*least_step=*/0.03f, /*least_difference=*/0.03f};

/// A plane with a margin of one pixel all around, which may hold any numbers.
struct Padded {
  int64_t stride;
  float* value;
  float* row(int64_t y) const { return value + (y + 1) * stride + 1; }
};

}  // namespace

void smooth_flow(const Plane& from, const Plane& dx, const Plane& dy, const Plane& to, Flow& flow,
                 std::vector<float>& scratch, ThreadPool& pool) {
  const cpu::MotionKernels& kernels = cpu::motion_kernels(cpu_isa());
  const int64_t width = from.width, height = from.height;
  const int64_t stride = width + 2, size = stride * (height + 2);
  scratch.resize(std::max(scratch.size(), size_t(13 * size)));
  float* free = scratch.data();
  const auto plane = [&] { return Padded{stride, std::exchange(free, free + size)}; };
  Padded u = plane(), v = plane(), next_u = plane(), next_v = plane();
  const Padded warped = plane(), resistance = plane(), xx = plane(), xy = plane(), yy = plane(), bx = plane(),
               by = plane(), right = plane(), down = plane();
  for_rows(height, pool, [&](int64_t y) {
    std::copy_n(flow.u.row(y), width, u.row(y)), std::copy_n(flow.v.row(y), width, v.row(y));
  });
  const auto equations = [&](int64_t y) {
    return cpu::MotionEquations{xx.row(y), xy.row(y), yy.row(y), bx.row(y), by.row(y), right.row(y), down.row(y)};
  };
  const auto rows = [](const Padded& of, int64_t y) {
    return cpu::MotionRows{of.row(y - 1), of.row(y), of.row(y + 1)};
  };
  // What binds the first column and row to the margin.
  for (int64_t y = 0; y < height; ++y) right.row(y)[-1] = 0;
  std::fill_n(down.row(-1), width, 0.0f);
  for (int linearisation = 0; linearisation < kLinearisations; ++linearisation) {
    for_rows(height, pool, [&](int64_t y) {
      float* row = warped.row(y);
      kernels.warp({to.value.data(), width, height}, u.row(y), v.row(y), y, row);
      row[-1] = row[0], row[width] = row[width - 1];
      const int64_t below = std::min(y + 1, height - 1);
      kernels.resistance({nullptr, u.row(y), u.row(below)}, {nullptr, v.row(y), v.row(below)}, width, kLimits,
                         resistance.row(y));
    });
    for_rows(height, pool, [&](int64_t y) {
      const int64_t above = std::max<int64_t>(y - 1, 0), below = std::min(y + 1, height - 1);
      const cpu::MotionRows weights = {y > 0 ? resistance.row(y - 1) : nullptr, resistance.row(y),
                                       y + 1 < height ? resistance.row(y + 1) : nullptr};
      kernels.equations(from.row(y), dx.row(y), dy.row(y), {warped.row(above), warped.row(y), warped.row(below)},
                        u.row(y), v.row(y), weights, width, kLimits, equations(y));
    });
    for (int sweep = 0; sweep < 2 * kSweeps; ++sweep) {
      for_rows(height, pool, [&](int64_t y) {
        kernels.relax(equations(y), down.row(y - 1), rows(u, y), rows(v, y), width, (y + sweep) & 1, kRelaxation,
                      next_u.row(y), next_v.row(y));
      });
      std::swap(u, next_u), std::swap(v, next_v);
    }
  }
  for_rows(height, pool, [&](int64_t y) {
    std::copy_n(u.row(y), width, flow.u.row(y)), std::copy_n(v.row(y), width, flow.v.row(y));
  });
}

}  // namespace smhdr::motion
