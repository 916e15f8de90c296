// Dense optical flow between two pictures of one brightness.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/for_rows.h"
#include "smhdr/thread_pool.h"

namespace smhdr::motion {

/// Memory that is not filled: whoever writes it first then also is the one who waits for its pages.
template <typename T>
struct Unfilled : std::allocator<T> {
  template <typename U>
  struct rebind {
    using other = Unfilled<U>;
  };
  void construct(T* at) { ::new (static_cast<void*>(at)) T; }
};

/// One channel, row by row; not filled at first.
struct Plane {
  int64_t width = 0, height = 0;
  std::vector<float, Unfilled<float>> value;

  Plane() = default;
  Plane(int64_t w, int64_t h) : width(w), height(h), value(w * h) {}
  float* row(int64_t y) { return value.data() + y * width; }
  const float* row(int64_t y) const { return value.data() + y * width; }
};

/// Between 0 and `most`; 0 for what is no number.
inline float within(float value, float most) { return value > 0 ? value < most ? value : most : 0.0f; }

/// Bilinear; beyond the border it repeats. At least two pixels wide and high.
inline float sample(const Plane& plane, float x, float y) {
  x = within(x, float(plane.width - 1)), y = within(y, float(plane.height - 1));
  const int64_t x0 = std::min(int64_t(x), plane.width - 2), y0 = std::min(int64_t(y), plane.height - 2);
  const float fx = x - float(x0), fy = y - float(y0);
  const float *row = plane.row(y0) + x0, *next = row + plane.width;
  const float upper = row[0] + fx * (row[1] - row[0]), lower = next[0] + fx * (next[1] - next[0]);
  return upper + fy * (lower - upper);
}

/// What is at pixel p of one picture is at p + (u, v) in the other.
struct Flow {
  Plane u, v;
};

/// The picture, then halves of it as long as their shorter side has 16 pixels.
std::vector<Plane> halvings(Plane picture, ThreadPool& pool);

/// From coarse to fine between two pictures of one size, as halvings() makes them of values in [0, 1]. On every scale
/// patches of `from` are found in `to` by inverse compositional steps, starting from the best of: not moved, and the
/// coarser scale's flow here and around; each then tries what its neighbours found; pixels take the mean of their
/// patches, weighted by how well they fit; and that is made smooth where pictures do not say otherwise, by minimising
/// the sum of |difference| + stiffness |slope of the flow|. (Kroeger, Timofte, Dai and Van Gool, "Fast optical flow
/// using dense inverse search", 2016; Brox, Bruhn, Papenberg and Weickert, "High accuracy optical flow estimation based
/// on a theory for warping", 2004.) Scales finer than number `finest` only inherit. The result does not depend on the
/// number of threads.
Flow find_flow(const std::vector<Plane>& from, const std::vector<Plane>& to, size_t finest, ThreadPool& pool);

/// The last of these steps, on one scale.
void smooth_flow(const Plane& from, const Plane& dx, const Plane& dy, const Plane& to, Flow& flow, ThreadPool& pool);

}  // namespace smhdr::motion
