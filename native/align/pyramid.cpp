#include "align/pyramid.h"

#include <algorithm>

namespace smhdr::align {
namespace {

constexpr float kClipped = 0.9f;       // linear; tone curves flatten before they clip
constexpr float kBlack = 0.0008f;      // linear; about two codes of 8-bit sRGB
constexpr float kClippedShare = 0.1f;  // of the light of a pixel that may come from clipped ones
constexpr int64_t kCoarsestSide = 96;
constexpr int64_t kRowsAtOnce = 16;

/// Linear luminance, and the share of it that is clipped.
struct Plane {
  int64_t width, height;
  std::vector<float> luminance, clipped;
  Plane(int64_t w, int64_t h) : width(w), height(h), luminance(w * h), clipped(w * h) {}
};

void for_rows(int64_t height, ThreadPool& pool, const auto& body) {
  pool.parallel_for((height + kRowsAtOnce - 1) / kRowsAtOnce, [&](int64_t item, int) {
    for (int64_t y = item * kRowsAtOnce, end = std::min(height, y + kRowsAtOnce); y < end; ++y) body(y);
  });
}

Plane load(const AlignImage& image, ThreadPool& pool) {
  Plane plane(image.width, image.height);
  for_rows(image.height, pool, [&](int64_t y) {
    const float* in = image.data + y * image.width * image.channels;
    for (int64_t x = 0; x < image.width; ++x, in += image.channels) {
      const float brightest = image.channels == 3 ? std::max({in[0], in[1], in[2]}) : in[0];
      const float sum = image.channels == 3 ? 0.25f * in[0] + 0.5f * in[1] + 0.25f * in[2] : in[0];
      // NaN and infinities count as clipped.
      const bool good = brightest < kClipped && std::isfinite(sum);
      plane.luminance[y * image.width + x] = std::isfinite(sum) ? std::clamp(sum, 0.0f, 1.0f) : 1.0f;
      plane.clipped[y * image.width + x] = good ? 0.0f : 1.0f;
    }
  });
  return plane;
}

/// Half the size by the binomial filter 1 3 3 1 in both directions; the edge repeats.
Plane halve(const Plane& in, ThreadPool& pool) {
  Plane out(in.width / 2, in.height / 2);
  for_rows(out.height, pool, [&](int64_t y) {
    const auto reduce = [&](const std::vector<float>& from, std::vector<float>& to) {
      const float* rows[4];
      for (int64_t j = 0; j < 4; ++j) rows[j] = &from[std::clamp<int64_t>(2 * y - 1 + j, 0, in.height - 1) * in.width];
      const auto column = [&](int64_t x) {
        x = std::clamp<int64_t>(x, 0, in.width - 1);
        return rows[0][x] + rows[3][x] + 3.0f * (rows[1][x] + rows[2][x]);
      };
      for (int64_t x = 0; x < out.width; ++x)
        to[y * out.width + x] =
            (column(2 * x - 1) + column(2 * x + 2) + 3.0f * (column(2 * x) + column(2 * x + 1))) * (1.0f / 64.0f);
    };
    reduce(in.luminance, out.luminance);
    reduce(in.clipped, out.clipped);
  });
  return out;
}

Level finish(const Plane& in, double step, ThreadPool& pool) {
  Level level{in.width, in.height, step, {}, {}};
  level.value.resize(in.width * in.height);
  level.valid.resize(in.width * in.height);
  for_rows(in.height, pool, [&](int64_t y) {
    const int64_t above = std::max<int64_t>(y - 1, 0) * in.width, here = y * in.width,
                  below = std::min(y + 1, in.height - 1) * in.width;
    const auto smooth = [&](const std::vector<float>& from, int64_t x) {
      const auto column = [&](int64_t i) { return from[above + i] + 2.0f * from[here + i] + from[below + i]; };
      return (column(std::max<int64_t>(x - 1, 0)) + 2.0f * column(x) + column(std::min(x + 1, in.width - 1))) / 16.0f;
    };
    for (int64_t x = 0; x < in.width; ++x) {
      const float luminance = smooth(in.luminance, x);
      level.value[here + x] = std::log(luminance + kLogOffset);
      level.valid[here + x] = luminance > kBlack && smooth(in.clipped, x) < kClippedShare;
    }
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
