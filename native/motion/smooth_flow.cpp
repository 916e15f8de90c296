#include <algorithm>

#include "core/cpu_isa.h"
#include "motion/flow.h"
#include "ops/cpu/motion_kernels.h"

namespace smhdr::motion {
namespace {

constexpr int kLinearisations = 3, kSweeps = 3;
constexpr float kRelaxation = 1.6f;
constexpr cpu::MotionLimits kLimits = {/*stiffness=*/0.05f, /*least_step=*/0.03f, /*least_difference=*/0.03f};

/// A plane with a margin of one pixel all around.
class Padded {
 public:
  Padded(int64_t width, int64_t height) : stride_(width + 2), value_(stride_ * (height + 2)) {}
  float* row(int64_t y) { return value_.data() + (y + 1) * stride_ + 1; }

 private:
  int64_t stride_;
  std::vector<float> value_;
};

}  // namespace

void smooth_flow(const Plane& from, const Plane& dx, const Plane& dy, const Plane& to, Flow& flow, ThreadPool& pool) {
  const cpu::MotionKernels& kernels = cpu::motion_kernels(cpu_isa());
  const int64_t width = from.width, height = from.height;
  Padded u(width, height), v(width, height), next_u(width, height), next_v(width, height);
  Padded warped(width, height), resistance(width, height), right(width, height), down(width, height);
  Plane xx(width, height), xy(width, height), yy(width, height), bx(width, height), by(width, height);
  for_rows(height, pool, [&](int64_t y) {
    std::copy_n(flow.u.row(y), width, u.row(y)), std::copy_n(flow.v.row(y), width, v.row(y));
  });
  const auto equations = [&](int64_t y) {
    return cpu::MotionEquations{xx.row(y), xy.row(y), yy.row(y), bx.row(y), by.row(y), right.row(y), down.row(y)};
  };
  const auto rows = [](Padded& plane, int64_t y) {
    return cpu::MotionRows{plane.row(y - 1), plane.row(y), plane.row(y + 1)};
  };
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
