#include "motion/flow.h"

#include <algorithm>

#include "core/cpu_isa.h"
#include "ops/cpu/motion_kernels.h"

namespace smhdr::motion {
namespace {

constexpr int64_t kPatch = cpu::kMotionPatch, kStride = 4;
constexpr int64_t kShortestSide = 16;
constexpr int kSteps = 4;                  // of one patch, at most
constexpr float kSettled = 0.02f;          // pixels: a shorter step is the last
constexpr float kStiffness = 0.02f;        // added to a patch's squared slopes: without texture it stays
constexpr float kLeastDifference = 0.01f;  // patches that differ less fit a pixel equally well

const cpu::MotionKernels& kernels() { return cpu::motion_kernels(cpu_isa()); }

/// Overlapping patches that cover a picture.
struct Grid {
  int64_t width, height, across, down;

  Grid(int64_t w, int64_t h) : width(w), height(h), across(count(w)), down(count(h)) {}
  int64_t left(int64_t i) const { return std::min(i * kStride, width - kPatch); }
  int64_t top(int64_t j) const { return std::min(j * kStride, height - kPatch); }

 private:
  static int64_t count(int64_t length) { return (length - kPatch + kStride - 1) / kStride + 1; }
};

struct Vector {
  float u = 0, v = 0;
};

/// One scale of the search.
class Scale {
 public:
  Scale(const Plane& from, const Plane& to, ThreadPool& pool)
      : from_(from),
        to_(to),
        dx_(from.width, from.height),
        dy_(from.width, from.height),
        grid_(from.width, from.height),
        pool_(pool) {
    for_rows(from.height, pool, [&](int64_t y) {
      kernels().slopes(from.row(std::max<int64_t>(y - 1, 0)), from.row(y), from.row(std::min(y + 1, from.height - 1)),
                       from.width, dx_.row(y), dy_.row(y));
    });
  }

  Flow improve(const Flow& guess) {
    Flow flow = spread(share(search(guess)));
    smooth_flow(from_, dx_, dy_, to_, flow, pool_);
    return flow;
  }

 private:
  struct Found {
    Plane u, v;
    Vector at(int64_t i, int64_t j) const { return {u.row(j)[i], v.row(j)[i]}; }
    void set(int64_t i, int64_t j, Vector w) { u.row(j)[i] = w.u, v.row(j)[i] = w.v; }
  };

  cpu::MotionPatch patch(int64_t left, int64_t top, Vector moved) const {
    const int64_t at = top * from_.width + left;
    const float x = within(float(left) + moved.u, float(from_.width - kPatch));
    const float y = within(float(top) + moved.v, float(from_.height - kPatch));
    // The row and the column after the patch are inside too.
    const int64_t x0 = std::min(int64_t(x), from_.width - kPatch - 1),
                  y0 = std::min(int64_t(y), from_.height - kPatch - 1);
    return {from_.value.data() + at, dx_.value.data() + at, dy_.value.data() + at, to_.row(y0) + x0, from_.width,
            x - float(x0),           y - float(y0)};
  }
  float cost(int64_t left, int64_t top, Vector moved) const { return kernels().cost(patch(left, top, moved)); }

  /// Gauss-Newton as long as the patch fits better.
  Vector settle(int64_t left, int64_t top, Vector best) const {
    float sums[3];
    const int64_t at = top * from_.width + left;
    kernels().texture(dx_.value.data() + at, dy_.value.data() + at, from_.width, sums);
    const float a = sums[0] + kStiffness, b = sums[1], c = sums[2] + kStiffness, determinant = a * c - b * b;
    Vector moved = best;
    float least = 0;
    for (int step = 0;; ++step) {
      const cpu::MotionSums s = kernels().compare(patch(left, top, moved));
      if (step > 0 && !(s.squares < least)) return best;
      least = s.squares, best = moved;
      const float du = (c * s.x - b * s.y) / determinant, dv = (a * s.y - b * s.x) / determinant;
      if (step == kSteps || du * du + dv * dv < kSettled * kSettled) return best;
      moved = {moved.u - du, moved.v - dv};
    }
  }

  Found search(const Flow& guess) const {
    Found found{Plane(grid_.across, grid_.down), Plane(grid_.across, grid_.down)};
    pool_.parallel_for(grid_.down, [&](int64_t j, int) {
      for (int64_t i = 0; i < grid_.across; ++i) {
        const int64_t left = grid_.left(i), top = grid_.top(j);
        const auto guessed = [&](int64_t dx, int64_t dy) {
          const int64_t x = std::clamp<int64_t>(left + kPatch / 2 + dx, 0, grid_.width - 1);
          const int64_t y = std::clamp<int64_t>(top + kPatch / 2 + dy, 0, grid_.height - 1);
          return Vector{guess.u.row(y)[x], guess.v.row(y)[x]};
        };
        Vector best = guessed(0, 0);
        float least = cost(left, top, best);
        for (const Vector& other :
             {Vector{}, guessed(-kPatch, 0), guessed(0, -kPatch), guessed(kPatch, 0), guessed(0, kPatch)}) {
          const float c = cost(left, top, other);
          if (c < least) least = c, best = other;
        }
        found.set(i, j, settle(left, top, best));
      }
    });
    return found;
  }

  /// What a neighbour found may fit better.
  Found share(const Found& own) const {
    Found found = own;
    pool_.parallel_for(grid_.down, [&](int64_t j, int) {
      for (int64_t i = 0; i < grid_.across; ++i) {
        const int64_t left = grid_.left(i), top = grid_.top(j);
        Vector best = own.at(i, j);
        const float before = cost(left, top, best);
        float least = before;
        for (int64_t b = std::max<int64_t>(j - 1, 0); b <= std::min(j + 1, grid_.down - 1); ++b)
          for (int64_t a = std::max<int64_t>(i - 1, 0); a <= std::min(i + 1, grid_.across - 1); ++a) {
            const Vector other = own.at(a, b);
            if (other.u == best.u && other.v == best.v) continue;
            const float c = cost(left, top, other);
            if (c < least) least = c, best = other;
          }
        if (least < before) found.set(i, j, settle(left, top, best));
      }
    });
    return found;
  }

  Flow spread(const Found& found) const {
    Flow flow{Plane(from_.width, from_.height), Plane(from_.width, from_.height)};
    for_rows(from_.height, pool_, [&](int64_t y) {
      std::vector<float> weight(from_.width);
      float *u = flow.u.row(y), *v = flow.v.row(y);
      std::fill_n(u, from_.width, 0.0f), std::fill_n(v, from_.width, 0.0f);
      for (int64_t j = std::max<int64_t>((y - kPatch) / kStride, 0); j < grid_.down && grid_.top(j) <= y; ++j)
        if (y < grid_.top(j) + kPatch)
          kernels().spread(from_.row(y), {to_.value.data(), to_.width, to_.height}, y,
                           {found.u.row(j), found.v.row(j), grid_.across, kStride}, kLeastDifference, weight.data(), u,
                           v);
      for (int64_t x = 0; x < from_.width; ++x) u[x] /= weight[x], v[x] /= weight[x];
    });
    return flow;
  }

  const Plane &from_, &to_;
  Plane dx_, dy_;
  Grid grid_;
  ThreadPool& pool_;
};

/// Twice the values on a grid twice as fine, whose pixels lie a quarter to either side of the coarse ones.
Plane finer(const Plane& coarse, int64_t width, int64_t height, ThreadPool& pool) {
  Plane out(width, height);
  const int64_t last = coarse.width - 1;
  for_rows(height, pool, [&](int64_t y) {
    const int64_t near = std::min(y / 2, coarse.height - 1);
    const int64_t far = std::clamp<int64_t>(y % 2 ? y / 2 + 1 : y / 2 - 1, 0, coarse.height - 1);
    const float *own = coarse.row(near), *other = coarse.row(far);
    std::vector<float> mixed(coarse.width);
    for (int64_t x = 0; x <= last; ++x) mixed[x] = 1.5f * own[x] + 0.5f * other[x];
    float* to = out.row(y);
    to[0] = mixed[0];
    for (int64_t x = 0; x < last; ++x) {
      to[2 * x + 1] = 0.75f * mixed[x] + 0.25f * mixed[x + 1];
      to[2 * x + 2] = 0.25f * mixed[x] + 0.75f * mixed[x + 1];
    }
    for (int64_t x = 2 * last + 1; x < width; ++x) to[x] = mixed[last];
  });
  return out;
}

}  // namespace

std::vector<Plane> halvings(Plane picture, ThreadPool& pool) {
  std::vector<Plane> scales;
  scales.push_back(std::move(picture));
  while (std::min(scales.back().width, scales.back().height) >= 2 * kShortestSide) {
    const Plane& in = scales.back();
    Plane out(in.width / 2, in.height / 2);
    for_rows(out.height, pool, [&](int64_t y) {
      const float *row = in.row(2 * y), *next = in.row(2 * y + 1);
      for (int64_t x = 0; x < out.width; ++x)
        out.row(y)[x] = 0.25f * (row[2 * x] + row[2 * x + 1] + next[2 * x] + next[2 * x + 1]);
    });
    scales.push_back(std::move(out));
  }
  return scales;
}

Flow find_flow(const std::vector<Plane>& from, const std::vector<Plane>& to, size_t finest, ThreadPool& pool) {
  Flow flow{Plane(from.back().width, from.back().height), Plane(from.back().width, from.back().height)};
  for (Plane* plane : {&flow.u, &flow.v}) std::fill(plane->value.begin(), plane->value.end(), 0.0f);
  for (size_t scale = from.size(); scale-- > 0;) {
    if (scale + 1 < from.size())
      flow = {finer(flow.u, from[scale].width, from[scale].height, pool),
              finer(flow.v, from[scale].width, from[scale].height, pool)};
    if (scale >= finest) flow = Scale(from[scale], to[scale], pool).improve(flow);
  }
  return flow;
}

}  // namespace smhdr::motion
