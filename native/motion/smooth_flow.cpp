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

constexpr int kHalfSweeps = 2 * kSweeps, kReach = kHalfSweeps - 1;
constexpr int64_t kBand = 64;

/// The last `count` rows of a picture, each with a margin of one pixel at either end.
class Rows {
 public:
  Rows(int64_t width, int64_t count) : stride_(width + 2), count_(count), value_(stride_ * count) {}
  float* operator[](int64_t y) { return value_.data() + y % count_ * stride_ + 1; }

 private:
  int64_t stride_, count_;
  std::vector<float> value_;
};

/// One linearisation of a band of rows, from one flow to another. All sweeps go down the picture together, each a row
/// behind the one before, so that what they read stays in cache. A row of the flow is changed in place: a half sweep
/// reads only the neighbours that it leaves alone. What a band reads of its neighbours' rows it relaxes itself, as far
/// as that matters for its own: bands need not wait for each other, and where they are cut changes nothing.
class Band {
 public:
  Band(const Plane& from, const Plane& dx, const Plane& dy, const Plane& to)
      : from_(from),
        dx_(dx),
        dy_(dy),
        to_{to.value.data(), from.width, from.height},
        width_(from.width),
        height_(from.height),
        nothing_(width_, 1),
        u_(width_, kHalfSweeps + 4),
        v_(width_, kHalfSweeps + 4),
        warped_(width_, 4),
        resistance_(width_, 4) {
    for (int i = 0; i < 7; ++i) equations_.emplace_back(width_, kHalfSweeps + 2);
  }

  void relax(const Flow& old, Flow& relaxed, int64_t begin, int64_t end) {
    // A row's equations bind it to the one below: the first that is relaxed needs those of the row above it too.
    const int64_t first = std::max<int64_t>(begin - kReach - 1, 0), last = std::min(end + kReach, height_);
    loaded_ = seen_ = std::max<int64_t>(first - 1, 0);
    for (int64_t y = first; y < last + kReach; ++y) {
      if (y < last) {
        for (; loaded_ < std::min(y + 3, height_); ++loaded_) load(old, loaded_);
        for (; seen_ < std::min(y + 2, height_); ++seen_) see(seen_);
        linearise(y);
      }
      for (int sweep = 0; sweep < kHalfSweeps; ++sweep) {
        const int64_t row = y - sweep, rest = kReach - sweep;
        if (row >= std::max<int64_t>(begin - rest, 0) && row < std::min(end + rest, height_)) step(row, sweep);
      }
      if (const int64_t done = y - kReach; done >= begin && done < end) {
        std::copy_n(u_[done], width_, relaxed.u.row(done));
        std::copy_n(v_[done], width_, relaxed.v.row(done));
      }
    }
  }

 private:
  void load(const Flow& old, int64_t y) {
    std::copy_n(old.u.row(y), width_, u_[y]);
    std::copy_n(old.v.row(y), width_, v_[y]);
  }

  void see(int64_t y) {
    float* row = warped_[y];
    kernels_.warp(to_, u_[y], v_[y], y, row);
    row[-1] = row[0], row[width_] = row[width_ - 1];
    const int64_t below = std::min(y + 1, height_ - 1);
    kernels_.resistance({nullptr, u_[y], u_[below]}, {nullptr, v_[y], v_[below]}, width_, kLimits, resistance_[y]);
  }

  void linearise(int64_t y) {
    const int64_t above = std::max<int64_t>(y - 1, 0), below = std::min(y + 1, height_ - 1);
    const cpu::MotionRows weights = {y > 0 ? resistance_[y - 1] : nullptr, resistance_[y],
                                     y + 1 < height_ ? resistance_[y + 1] : nullptr};
    const cpu::MotionEquations row = equations(y);
    row.right[-1] = 0;  // what binds the first column to the margin
    kernels_.equations(from_.row(y), dx_.row(y), dy_.row(y), {warped_[above], warped_[y], warped_[below]}, u_[y], v_[y],
                       weights, width_, kLimits, row);
  }

  void step(int64_t y, int sweep) {
    const bool top = y == 0, bottom = y + 1 == height_;
    const auto rows = [&](Rows& of) {
      return cpu::MotionRows{top ? nothing_[0] : of[y - 1], of[y], bottom ? nothing_[0] : of[y + 1]};
    };
    kernels_.relax(equations(y), top ? nothing_[0] : equations(y - 1).down, rows(u_), rows(v_), width_, (y + sweep) & 1,
                   kRelaxation, u_[y], v_[y]);
  }

  cpu::MotionEquations equations(int64_t y) {
    auto& e = equations_;
    return {e[0][y], e[1][y], e[2][y], e[3][y], e[4][y], e[5][y], e[6][y]};
  }

  const cpu::MotionKernels& kernels_ = cpu::motion_kernels(cpu_isa());
  const Plane &from_, &dx_, &dy_;
  const cpu::MotionPicture to_;
  const int64_t width_, height_;
  int64_t loaded_ = 0, seen_ = 0;
  Rows nothing_, u_, v_, warped_, resistance_;
  std::vector<Rows> equations_;
};

}  // namespace

void smooth_flow(const Plane& from, const Plane& dx, const Plane& dy, const Plane& to, Flow& flow, ThreadPool& pool) {
  Flow other{Plane(from.width, from.height), Plane(from.width, from.height)};
  std::vector<Band> bands;
  for (int thread = 0; thread < pool.threads(); ++thread) bands.emplace_back(from, dx, dy, to);
  for (int linearisation = 0; linearisation < kLinearisations; ++linearisation) {
    pool.parallel_for((from.height + kBand - 1) / kBand, [&](int64_t item, int thread) {
      bands[thread].relax(flow, other, item * kBand, std::min(from.height, (item + 1) * kBand));
    });
    std::swap(flow, other);
  }
}

}  // namespace smhdr::motion
