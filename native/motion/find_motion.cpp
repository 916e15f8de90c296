#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "align/warp.h"
#include "core/cpu_isa.h"
#include "motion/flow.h"
#include "motion/match_levels.h"
#include "ops/cpu/motion_kernels.h"
#include "smhdr/motion.h"

namespace smhdr {
namespace {

using namespace motion;

constexpr int64_t kMostPixels = 1'000'000;  // of the pictures that are compared
constexpr int64_t kFewPixels = 400'000;
constexpr int64_t kShortestSide = 32;
constexpr float kClipped = 0.98f;
// Where so much differs the exposure value is wrong, or noise is all there is: what seems to move then does not. (With
// moving things up to 0.53 on synthetic brackets; on real ones 0.1 to 0.5, more only many stops apart.)
constexpr double kTooUnlike = 0.6;
constexpr float kReturn = 1, kReturnShare = 0.05f;  // pixels, and of the flow's length, that there and back may differ
constexpr float kShortest = 0.75f;                  // pixels: what moved less is better kept exact
constexpr float kLongest = 500;                     // pixels: what the field can say
// Details: differences from the mean of a square around. They are compared in small squares.
constexpr int64_t kDetailRadius = 16, kCompareRadius = 4;
// Where a region must have them: pixels that agree clearly better, so many and this share of all.
constexpr float kBetter = 0.5f, kBetterBy = 0.02f;
constexpr double kBetterShare = 0.1;
constexpr int64_t kFewestBetter = 16;
constexpr int64_t kCleanRadius = 2;  // of squares whose majority moves

float norm(float x, float y) { return std::sqrt(x * x + y * y); }

/// Means of squares of factor x factor pixels of roots of light, 1 = where the first of the two exposures clips.
Plane view(const AlignImage& image, int64_t factor, double gain, ThreadPool& pool) {
  const cpu::MotionKernels& kernels = cpu::motion_kernels(cpu_isa());
  const int64_t channels = image.channels, values = image.width * channels;
  Plane out((image.width + factor - 1) / factor, (image.height + factor - 1) / factor);
  for_rows(out.height, pool, [&](int64_t y) {
    const int64_t bottom = std::min((y + 1) * factor, image.height);
    std::vector<float> light(values);
    for (int64_t j = y * factor; j < bottom; ++j)
      kernels.add_light(image.data + j * values, values, float(gain), light.data());
    for (int64_t x = 0; x < out.width && factor > 1; ++x) {
      const int64_t right = std::min((x + 1) * factor, image.width);
      for (int64_t c = 0; c < channels; ++c) {
        float sum = 0;
        for (int64_t i = x * factor; i < right; ++i) sum += light[i * channels + c];
        light[x * channels + c] = sum / float((right - x * factor) * (bottom - y * factor));
      }
    }
    kernels.roots(light.data(), out.width * channels);
    for (int64_t x = 0; x < out.width; ++x) {
      float sum = 0;
      for (int64_t c = 0; c < channels; ++c) sum += light[x * channels + c];
      out.row(y)[x] = sum / float(channels);
    }
  });
  return out;
}

/// The picture as seen through a map of pixel centres.
Plane warped(const Plane& in, const align::Matrix& map, ThreadPool& pool) {
  Plane out(in.width, in.height);
  for_rows(in.height, pool, [&](int64_t y) {
    for (int64_t x = 0; x < in.width; ++x) {
      const align::Position p = align::apply(map, double(x), double(y));
      out.row(y)[x] = sample(in, float(p.x), float(p.y));
    }
  });
  return out;
}

/// Means over squares of 2 radius + 1 pixels, as far as they lie inside.
Plane box(const Plane& in, int64_t radius, ThreadPool& pool) {
  Plane across(in.width, in.height), out(in.width, in.height);
  for_rows(in.height, pool, [&](int64_t y) {
    const float* row = in.row(y);
    double sum = 0;
    for (int64_t x = 0; x < std::min(radius, in.width); ++x) sum += row[x];
    for (int64_t x = 0; x < in.width; ++x) {
      if (x + radius < in.width) sum += row[x + radius];
      if (x > radius) sum -= row[x - radius - 1];
      const int64_t first = std::max<int64_t>(x - radius, 0), last = std::min(x + radius, in.width - 1);
      across.row(y)[x] = float(sum / double(last - first + 1));
    }
  });
  // Down the picture in bands, with sums of columns to which a row comes and from which one goes.
  constexpr int64_t kRows = 64;
  pool.parallel_for((in.height + kRows - 1) / kRows, [&](int64_t item, int) {
    const int64_t begin = item * kRows, end = std::min(in.height, begin + kRows);
    std::vector<double> sums(in.width);
    const auto count = [&](int64_t y, double sign) {
      const float* row = across.row(y);
      for (int64_t x = 0; x < in.width; ++x) sums[x] += sign * row[x];
    };
    for (int64_t y = std::max<int64_t>(begin - radius, 0); y < std::min(begin + radius, in.height); ++y) count(y, 1);
    for (int64_t y = begin; y < end; ++y) {
      const int64_t first = std::max<int64_t>(y - radius, 0), last = std::min(y + radius, in.height - 1);
      if (y + radius < in.height) count(y + radius, 1);
      if (y > begin && y > radius) count(y - radius - 1, -1);
      for (int64_t x = 0; x < in.width; ++x) out.row(y)[x] = float(sums[x] / double(last - first + 1));
    }
  });
  return out;
}

Plane details(const Plane& in, ThreadPool& pool) {
  Plane out = box(in, kDetailRadius, pool);
  for_rows(in.height, pool, [&](int64_t y) {
    for (int64_t x = 0; x < in.width; ++x) out.row(y)[x] = in.row(y)[x] - out.row(y)[x];
  });
  return out;
}

/// Takes regions of moved pixels away in which too little agrees better.
void keep_better(Plane& moved, const Plane& before, const Plane& after) {
  const int64_t width = moved.width, pixels = width * moved.height;
  std::vector<uint8_t> seen(pixels);
  std::vector<int64_t> open, region;
  for (int64_t start = 0; start < pixels; ++start) {
    if (seen[start] || moved.value[start] == 0) continue;
    open = {start}, region.clear(), seen[start] = 1;
    int64_t better = 0;
    while (!open.empty()) {
      const int64_t i = open.back();
      open.pop_back(), region.push_back(i);
      better += after.value[i] < kBetter * before.value[i] && before.value[i] - after.value[i] > kBetterBy;
      const auto visit = [&](bool inside, int64_t k) {
        if (inside && !seen[k] && moved.value[k] > 0) seen[k] = 1, open.push_back(k);
      };
      const int64_t x = i % width;
      visit(x > 0, i - 1), visit(x + 1 < width, i + 1), visit(i >= width, i - width);
      visit(i + width < pixels, i + width);
    }
    if (better < kFewestBetter || double(better) < kBetterShare * double(region.size()))
      for (const int64_t i : region) moved.value[i] = 0;
  }
}

MotionField field_of(const Flow& flow, const Plane& moved, int64_t scale) {
  MotionField field{moved.width, moved.height, scale, std::vector<int16_t>(2 * moved.value.size()), 0};
  for (size_t i = 0; i < moved.value.size(); ++i) {
    const bool take = moved.value[i] > 0;
    const auto units = [&](const Plane& plane) { return int16_t(std::lround(plane.value[i] * MotionField::kUnits)); };
    field.moved[2 * i] = take ? units(flow.u) : MotionField::kUnmoved;
    field.moved[2 * i + 1] = take ? units(flow.v) : int16_t(0);
    field.count += take;
  }
  return field;
}

/// A map of the photograph's pixel centres as one of pixels that are `scale` of them wide and high.
align::Matrix on_pixels(const align::Matrix& map, int64_t scale) {
  const double s = double(scale), offset = (s - 1) / 2;
  const align::Matrix to = {s, 0, offset, 0, s, offset, 0, 0, 1};
  return align::normalised(align::multiply(align::multiply(align::inverse(to), map), to));
}

Status check(const AlignImage& reference, const AlignImage& exposure, double stops,
             const std::array<double, 9>& homography, int64_t scale) {
  for (const AlignImage* image : {&reference, &exposure})
    if (image->data == nullptr || image->width < 1 || image->height < 1 || image->width != reference.width ||
        image->height != reference.height || (image->channels != 1 && image->channels != 3))
      return invalid_argument("pictures: expected two of one size with 1 or 3 channels");
  if (!std::isfinite(stops)) return invalid_argument("stops: expected a finite number");
  if (scale < 1 || scale > 1 << 16) return invalid_argument("scale: expected 1 to 65536, got " + std::to_string(scale));
  const align::Matrix& h = homography;
  const double determinant =
      h[0] * (h[4] * h[8] - h[5] * h[7]) - h[1] * (h[3] * h[8] - h[5] * h[6]) + h[2] * (h[3] * h[7] - h[4] * h[6]);
  if (!std::isfinite(determinant) || std::abs(determinant) < 1e-12)
    return invalid_argument("homography: expected one that can be undone");
  return {};
}

}  // namespace

Result<MotionField> find_motion(const AlignImage& reference, const AlignImage& exposure, double stops,
                                const std::array<double, 9>& homography, int64_t scale, ThreadPool& pool,
                                const Progress& progress) {
  if (const Status status = check(reference, exposure, stops, homography, scale); !status.ok()) return status.error();
  const auto reduced = [&](int64_t length, int64_t by) { return (length + by - 1) / by; };
  int64_t factor = 1;
  while (reduced(exposure.width, factor) * reduced(exposure.height, factor) > kMostPixels) ++factor;
  const int64_t width = reduced(exposure.width, factor), height = reduced(exposure.height, factor);
  MotionField none{width, height, scale * factor, {}, 0};
  if (std::min(width, height) < kShortestSide) return none;
  const Error cancelled{ErrorCode::cancelled, "Following what moved was cancelled."};

  // Both in the exposure's pixels, as bright as the darker clips.
  const double gain = std::exp2(std::abs(stops)) / kClipped;
  Plane there = view(reference, factor, stops > 0 ? gain : 1 / kClipped, pool);
  if (homography != align::kIdentity)
    there = warped(there, align::inverse(on_pixels(homography, scale * factor)), pool);
  Plane here = view(exposure, factor, stops > 0 ? 1 / kClipped : gain, pool);
  if (match_levels(there, here, pool) > kTooUnlike) return none;
  if (progress.stop()) return cancelled;
  const Plane here_details = details(here, pool), there_details = details(there, pool);
  Plane before(width, height), after(width, height), moved(width, height);
  for_rows(height, pool, [&](int64_t y) {
    const float *a = here_details.row(y), *b = there_details.row(y);
    for (int64_t x = 0; x < width; ++x) before.row(y)[x] = std::abs(a[x] - b[x]);
  });
  before = box(before, kCompareRadius, pool);
  // Where details agree already nothing can agree better.
  if (std::count_if(before.value.begin(), before.value.end(), [](float d) { return d > kBetterBy; }) < kFewestBetter)
    return none;

  const std::vector<Plane> from = halvings(std::move(there), pool), to = halvings(std::move(here), pool);
  const Flow flow = find_flow(from, to, 0, pool);
  if (progress.stop()) return cancelled;
  // Where pixels are many, half as fine is enough to tell whether it leads back.
  const Flow back = find_flow(to, from, width * height > kFewPixels ? 1 : 0, pool);
  if (progress.stop()) return cancelled;

  for_rows(height, pool, [&](int64_t y) {
    for (int64_t x = 0; x < width; ++x) {
      const float u = flow.u.row(y)[x], v = flow.v.row(y)[x], px = float(x) + u, py = float(y) + v;
      const bool inside = px >= 0 && py >= 0 && px <= float(width - 1) && py <= float(height - 1);
      const float detail = there_details.row(y)[x], length = norm(u, v);
      after.row(y)[x] = inside ? std::abs(sample(here_details, px, py) - detail) : 1.0f;
      moved.row(y)[x] = 0;
      if (!inside || !(length > kShortest && length < kLongest)) continue;
      const float off = norm(u + sample(back.u, px, py), v + sample(back.v, px, py));
      moved.row(y)[x] = off < kReturn + kReturnShare * length ? 1.0f : 0.0f;
    }
  });
  after = box(after, kCompareRadius, pool);
  for (size_t i = 0; i < moved.value.size(); ++i)
    if (after.value[i] > before.value[i]) moved.value[i] = 0;
  keep_better(moved, before, after);
  const Plane majority = box(moved, kCleanRadius, pool);
  for (size_t i = 0; i < moved.value.size(); ++i)
    if (majority.value[i] <= 0.5f) moved.value[i] = 0;
  return field_of(flow, moved, scale * factor);
}

}  // namespace smhdr
