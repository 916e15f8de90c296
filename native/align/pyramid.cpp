#include "align/pyramid.h"

#include <algorithm>

#include "core/cpu_isa.h"
#include "core/for_rows.h"
#include "ops/cpu/align_kernels.h"

namespace smhdr::align {
namespace {

constexpr float kClipped = 0.9f;       // linear; tone curves flatten before they clip
constexpr float kBlack = 0.0008f;      // linear; about two codes of 8-bit sRGB
constexpr float kClippedShare = 0.1f;  // of the light of a pixel that may come from clipped ones
constexpr int64_t kCoarsestSide = 96;

/// Linear luminance, and the share of it that is clipped.
struct Plane {
  int64_t width, height;
  std::vector<float> luminance, clipped;
  Plane(int64_t w, int64_t h) : width(w), height(h), luminance(w * h), clipped(w * h) {}
};

const cpu::AlignKernels& kernels() { return cpu::align_kernels(cpu_isa()); }
constexpr cpu::AlignLimits kLimits = {kClipped, kClippedShare, kBlack, kLogOffset};

/// Rows y, y + 1, ... of a plane; the edge repeats.
cpu::AlignRows rows_from(const Plane& plane, int64_t y) {
  cpu::AlignRows rows;
  for (int64_t j = 0; j < 4; ++j) {
    const int64_t at = std::clamp<int64_t>(y + j, 0, plane.height - 1) * plane.width;
    rows.luminance[j] = &plane.luminance[at], rows.clipped[j] = &plane.clipped[at];
  }
  return rows;
}

Plane load(const AlignImage& image, ThreadPool& pool) {
  Plane plane(image.width, image.height);
  for_rows(image.height, pool, [&](int64_t y) {
    const int64_t at = y * image.width;
    kernels().luminance(image.data + at * image.channels, image.channels, image.width, kLimits, &plane.luminance[at],
                        &plane.clipped[at]);
  });
  return plane;
}

Plane halve(const Plane& in, ThreadPool& pool) {
  Plane out(in.width / 2, in.height / 2);
  for_rows(out.height, pool, [&](int64_t y) {
    const int64_t at = y * out.width;
    kernels().halve(rows_from(in, 2 * y - 1), in.width, out.width, &out.luminance[at], &out.clipped[at]);
  });
  return out;
}

Level finish(const Plane& in, double step, ThreadPool& pool) {
  Level level{in.width, in.height, step, {}, {}};
  level.value.resize(in.width * in.height);
  level.valid.resize(in.width * in.height);
  for_rows(in.height, pool, [&](int64_t y) {
    const int64_t at = y * in.width;
    kernels().level(rows_from(in, y - 1), in.width, kLimits, &level.value[at], &level.valid[at]);
  });
  return level;
}

}  // namespace

std::vector<Level> build_pyramid(const AlignImage& image, ThreadPool& pool) {
  std::vector<Level> levels;
  Plane plane = load(image, pool);
  double step = 1;
  levels.push_back(finish(plane, step, pool));
  while (levels.back().longer_side() > kCoarsestSide && std::min(plane.width, plane.height) >= 32) {
    plane = halve(plane, pool);
    levels.push_back(finish(plane, step *= 2, pool));
  }
  return levels;
}

}  // namespace smhdr::align
