// Sub-pixel registration by robust Gauss-Newton on the pixels with texture, and the test of whether it helped.
#pragma once

#include <cstdint>
#include <vector>

#include "align/photometric.h"
#include "align/pyramid.h"
#include "align/warp.h"
#include "smhdr/align.h"
#include "smhdr/thread_pool.h"

namespace smhdr::align {

/// Textured, well-exposed pixels of the reference, in reading order of square blocks, with where each stands in the
/// brightness curve.
struct Points {
  std::vector<float> x, y, position;  // filled up to whole groups of the kernels by places where nothing is seen
  std::vector<int32_t> block;
  int64_t across = 0, blocks = 0;  // blocks in a row, and in all
  int64_t size() const { return int64_t(block.size()); }
};

/// Three quarters of the blocks, spread evenly, fit the warp; the rest judges it.
struct Selection {
  Points fit, held_out;
};
Selection select_points(const Level& reference, int64_t most_points);

/// One scale of the two exposures being compared.
struct Pair {
  const Selection& points;
  const Level& moving;
  Grid grid;
};

/// Minimises Tukey's biweight of (moving(W(x)) - curve(reference(x))) / sigma over the fit points, forward-additive,
/// from `start`, until a step is shorter than `tolerance` (pixels of this scale); the brightness curve and its spread
/// are refitted at every step. Returns the start where nothing can be seen. (Baker and Matthews, "Lucas-Kanade 20 years
/// on", 2004.)
Matrix refine(const Pair& pair, Matrix start, AlignModel model, int most_steps, double tolerance, ThreadPool& pool);

/// The other exposure as the points see it through one warp.
struct View {
  bool seen = false;         // whether there is a curve
  Photometric curve;         // by the fit points
  std::vector<float> value;  // at the held-out points; NaN where it shows nothing
};
View look(const Pair& pair, const Matrix& warp, ThreadPool& pool);

/// How the held-out points see a warp.
struct Verdict {
  /// Correlation of the predicted and the observed values inside blocks, pooled; 0 where nothing can be seen.
  double correlation = 0;
  /// Share of the held-out points visible in both exposures.
  double overlap = 0;
  int64_t blocks = 0;
};
Verdict judge(const Points& held_out, const View& view);

/// Mean robust cost of two warps on the held-out points that both see, each with its own brightness curve, at b's
/// spread.
struct Comparison {
  double cost_a = 0, cost_b = 0;
  /// (mean of a - b over the blocks) / its standard error: above 3, b is better beyond chance.
  double significance = 0;
  /// The same of that ninth of the image where b does worst: far below 0, b is worse there.
  double worst_region = 0;
};
Comparison compare(const Points& held_out, const View& a, const View& b);

}  // namespace smhdr::align
