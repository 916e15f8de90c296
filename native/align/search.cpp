#include "align/search.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace smhdr::align {
namespace {

constexpr double kLargestShift = 0.12;  // of the longer side
constexpr int kRotations = 9;           // odd: the middle one is none
constexpr double kRotationStep = 1.5 * std::numbers::pi / 180;
constexpr float kLeastOverlap = 0.15f;  // of the reference's structure

/// Gradients with their length compressed, so that no single edge decides; zero where badly exposed.
struct Directions {
  int64_t width, height;
  std::vector<float> x, y, seen;
  Directions(int64_t w, int64_t h) : width(w), height(h), x(w * h), y(w * h), seen(w * h) {}
};

Directions directions_of(const Level& level) {
  Directions out(level.width, level.height);
  double sum = 0;
  int64_t count = 0;
  for (int64_t row = 1; row + 1 < level.height; ++row)
    for (int64_t column = 1; column + 1 < level.width; ++column) {
      const int64_t i = row * level.width + column;
      const auto& ok = level.valid;
      if (!(ok[i] && ok[i - 1] && ok[i + 1] && ok[i - level.width] && ok[i + level.width])) continue;
      out.x[i] = level.value[i + 1] - level.value[i - 1];
      out.y[i] = level.value[i + level.width] - level.value[i - level.width];
      out.seen[i] = 1;
      sum += std::hypot(out.x[i], out.y[i]), ++count;
    }
  const float typical = float(sum / double(std::max<int64_t>(count, 1))) + 1e-4f;
  for (size_t i = 0; i < out.x.size(); ++i) {
    const float scale = 1.0f / std::sqrt(out.x[i] * out.x[i] + out.y[i] * out.y[i] + typical * typical);
    out.x[i] *= scale, out.y[i] *= scale;
  }
  return out;
}

/// `in` as seen through a rotation about the image's centre; nearest pixel.
Directions rotate(const Directions& in, double angle) {
  Directions out(in.width, in.height);
  const double c = std::cos(angle), s = std::sin(angle);
  const double cx = 0.5 * double(in.width - 1), cy = 0.5 * double(in.height - 1);
  for (int64_t y = 0; y < in.height; ++y)
    for (int64_t x = 0; x < in.width; ++x) {
      const int64_t sx = std::llround(c * (double(x) - cx) - s * (double(y) - cy) + cx);
      const int64_t sy = std::llround(s * (double(x) - cx) + c * (double(y) - cy) + cy);
      if (sx < 0 || sy < 0 || sx >= in.width || sy >= in.height) continue;
      const int64_t from = sy * in.width + sx, to = y * in.width + x;
      out.x[to] = float(c * in.x[from] + s * in.y[from]);
      out.y[to] = float(-s * in.x[from] + c * in.y[from]);
      out.seen[to] = in.seen[from];
    }
  return out;
}

/// Normalised correlation of `a` at (x, y) with `b` at (x + dx, y + dy), less where little is seen by both.
float correlate(const Directions& a, const Directions& b, int64_t dx, int64_t dy, float all_a) {
  const int64_t x0 = std::max<int64_t>(0, -dx), x1 = std::min(a.width, b.width - dx);
  const int64_t y0 = std::max<int64_t>(0, -dy), y1 = std::min(a.height, b.height - dy);
  float product = 0, energy_a = 0, energy_b = 0;
  for (int64_t y = y0; y < y1; ++y) {
    const int64_t ia = y * a.width, ib = (y + dy) * b.width + dx;
    const float *ax = &a.x[ia], *ay = &a.y[ia], *as = &a.seen[ia], *bx = b.x.data() + ib, *by = b.y.data() + ib,
                *bs = b.seen.data() + ib;
    // Eight running sums let the compiler use vectors without reordering anything.
    float p[8] = {}, q[8] = {}, r[8] = {};
    const auto add = [&](int64_t x, int64_t k) {
      p[k] += ax[x] * bx[x] + ay[x] * by[x];
      q[k] += (ax[x] * ax[x] + ay[x] * ay[x]) * bs[x];
      r[k] += (bx[x] * bx[x] + by[x] * by[x]) * as[x];
    };
    int64_t x = x0;
    for (; x + 8 <= x1; x += 8)
      for (int64_t k = 0; k < 8; ++k) add(x + k, k);
    for (; x < x1; ++x) add(x, 0);
    for (int k = 0; k < 8; ++k) product += p[k], energy_a += q[k], energy_b += r[k];
  }
  if (!(energy_a > kLeastOverlap * all_a) || !(energy_b > 0)) return -1;
  return product / std::sqrt(energy_a * energy_b) * std::pow(energy_a / all_a, 0.25f);
}

}  // namespace

std::vector<Matrix> search(const Level& reference, const Level& moving, const Grid& grid, size_t most,
                           ThreadPool& pool) {
  const Directions fixed = directions_of(reference), free = directions_of(moving);
  float all = 0;
  for (size_t i = 0; i < fixed.x.size(); ++i) all += fixed.x[i] * fixed.x[i] + fixed.y[i] * fixed.y[i];
  if (!(all > 0)) return {};

  const int64_t reach = std::max<int64_t>(1, std::llround(kLargestShift * double(reference.longer_side())));
  const int64_t side = 2 * reach + 1;
  const auto angle_of = [](int64_t rotation) { return double(rotation - kRotations / 2) * kRotationStep; };
  std::vector<Directions> rotated;
  for (int r = 0; r < kRotations; ++r) rotated.push_back(rotate(free, angle_of(r)));
  std::vector<float> score(kRotations * side * side);
  pool.parallel_for(kRotations * side, [&](int64_t item, int) {
    const int64_t rotation = item / side, dy = item % side - reach;
    for (int64_t dx = -reach; dx <= reach; ++dx)
      score[item * side + dx + reach] = correlate(fixed, rotated[rotation], dx, dy, all);
  });

  // The best, again and again, each time leaving out what is close to one already taken.
  std::vector<Matrix> found;
  while (found.size() < most) {
    const auto best = std::max_element(score.begin(), score.end());
    if (*best <= 0) break;
    const int64_t index = best - score.begin(), rotation = index / (side * side);
    const int64_t dy = index / side % side, dx = index % side;
    const double c = std::cos(angle_of(rotation)), s = std::sin(angle_of(rotation));
    const double tx = double(dx - reach) / grid.pixels_x, ty = double(dy - reach) / grid.pixels_y;
    found.push_back({c, -s, c * tx - s * ty, s, c, s * tx + c * ty, 0, 0, 1});
    for (int64_t r = 0; r < kRotations; ++r)
      for (int64_t y = std::max<int64_t>(0, dy - 1); y <= std::min(side - 1, dy + 1); ++y)
        for (int64_t x = std::max<int64_t>(0, dx - 1); x <= std::min(side - 1, dx + 1); ++x)
          score[(r * side + y) * side + x] = -1;
  }
  return found;
}

}  // namespace smhdr::align
