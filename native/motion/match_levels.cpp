#include "motion/match_levels.h"

#include <algorithm>
#include <cmath>

namespace smhdr::motion {
namespace {

constexpr int64_t kLevels = 256, kCurve = 1024;
constexpr uint32_t kFewest = 64;        // pixels of a level that have a median
constexpr double kFarthest = 1.3;       // the factor between a value and its image
constexpr double kFarthestStep = 0.02;  // and beyond that, for dark values
// How alike pictures are: the mean difference, none counted for more than this. Things that move cannot better it much
// by a curve (on synthetic brackets to 0.97 at best); curves of cameras bring it to 0.3 to 0.7.
constexpr float kLargestDifference = 0.05f;
constexpr double kPays = 0.85;

/// Levels whose medians are one value.
struct Run {
  double value, weight, first, last;
};

/// Pools neighbours that are not in order (isotonic regression).
void append(std::vector<Run>& runs, const Run& run) {
  runs.push_back(run);
  while (runs.size() > 1 && runs[runs.size() - 2].value > runs.back().value) {
    const Run last = runs.back();
    runs.pop_back();
    Run& r = runs.back();
    const double weight = r.weight + last.weight;
    r = {(r.value * r.weight + last.value * last.weight) / weight, weight, r.first, last.last};
  }
}

std::vector<Run> medians(const Plane& picture, const Plane& other, ThreadPool& pool) {
  const auto level = [](float v) { return std::clamp<int64_t>(int64_t(v * kLevels), 0, kLevels - 1); };
  std::vector<std::vector<uint32_t>> parts(pool.threads(), std::vector<uint32_t>(kLevels * kLevels));
  for_rows_on(picture.height, pool, [&](int64_t y, int thread) {
    std::vector<uint32_t>& part = parts[thread];
    const float *a = picture.row(y), *b = other.row(y);
    for (int64_t x = 0; x < picture.width; ++x) ++part[level(a[x]) * kLevels + level(b[x])];
  });
  std::vector<uint32_t> counts(kLevels * kLevels);
  for (const auto& part : parts)
    for (size_t i = 0; i < part.size(); ++i) counts[i] += part[i];
  std::vector<Run> runs;
  for (int64_t a = 0; a < kLevels; ++a) {
    const uint32_t* row = counts.data() + a * kLevels;
    uint64_t total = 0, below = 0;
    for (int64_t b = 0; b < kLevels; ++b) total += row[b];
    if (total < kFewest) continue;
    int64_t b = 0;
    while (2 * (below + row[b]) < total) below += row[b++];
    const double median = (double(b) + (0.5 * double(total) - double(below)) / row[b]) / kLevels;
    const double own = (double(a) + 0.5) / kLevels;
    append(runs, {std::clamp(median, own / kFarthest - kFarthestStep, own * kFarthest + kFarthestStep), double(total),
                  own, own});
  }
  return runs;
}

/// At kCurve + 1 even places.
std::vector<float> curve_through(const std::vector<Run>& runs) {
  std::vector<std::pair<double, double>> knots = {{0, 0}};
  for (const Run& r : runs) {
    knots.push_back({r.first, r.value});
    if (r.last > r.first) knots.push_back({r.last, r.value});
  }
  knots.push_back({1, 1});
  std::vector<float> curve(kCurve + 1);
  size_t k = 0;
  for (int64_t i = 0; i <= kCurve; ++i) {
    const double x = double(i) / kCurve;
    while (k + 2 < knots.size() && knots[k + 1].first < x) ++k;
    const auto [x0, y0] = knots[k];
    const auto [x1, y1] = knots[k + 1];
    curve[i] = float(y0 + (y1 - y0) * std::clamp((x - x0) / (x1 - x0), 0.0, 1.0));
  }
  return curve;
}

}  // namespace

double match_levels(Plane& picture, const Plane& other, ThreadPool& pool) {
  const std::vector<float> curve = curve_through(medians(picture, other, pool));
  const auto mapped = [&](float v) {
    const float at = std::clamp(v, 0.0f, 1.0f) * kCurve;
    const int64_t i = std::min(int64_t(at), kCurve - 1);
    return curve[i] + (at - float(i)) * (curve[i + 1] - curve[i]);
  };
  struct Differences {
    double before = 0, after = 0;
  };
  std::vector<Differences> rows(picture.height);
  for_rows(picture.height, pool, [&](int64_t y) {
    const float *a = picture.row(y), *b = other.row(y);
    for (int64_t x = 0; x < picture.width; ++x) {
      rows[y].before += std::min(std::abs(a[x] - b[x]), kLargestDifference);
      rows[y].after += std::min(std::abs(mapped(a[x]) - b[x]), kLargestDifference);
    }
  });
  double before = 0, after = 0;
  for (const Differences& row : rows) before += row.before, after += row.after;
  const double most = double(kLargestDifference) * double(picture.value.size());
  if (after > kPays * before) return before / most;
  for_rows(picture.height, pool, [&](int64_t y) {
    for (int64_t x = 0; x < picture.width; ++x) picture.row(y)[x] = mapped(picture.row(y)[x]);
  });
  return after / most;
}

}  // namespace smhdr::motion
