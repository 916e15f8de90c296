// Alignment against known warps of a procedural scene, and against pictures that must be left alone.
#include "smhdr/align.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "align/warp.h"
#include "check.h"
#include "noise.h"

namespace {

using smhdr::AlignImage;
using smhdr::AlignModel;
using smhdr::AlignOutcome;
using smhdr::ExposureAlignment;
using smhdr::align::Matrix;
using smhdr::test::hash;
using smhdr::test::lattice;
using smhdr::test::noise;

constexpr int64_t kWidth = 640, kHeight = 440;
constexpr uint32_t kChainSeeds = 12;

/// Radiance of the scene at a position in pixels of the reference: textured, with hard edges, a bright window and
/// shadows; about 10 stops.
float scene(float x, float y, uint32_t seed) {
  float log2 = -8.5f + 4 * noise(x / 170, y / 170, seed) + 2 * noise(x / 40, y / 40, seed + 1) +
               1.2f * noise(x / 11, y / 11, seed + 2) + 0.8f * noise(x / 4, y / 4, seed + 3);
  if (lattice(int(std::floor(x / 57 + 1000)), int(std::floor(y / 43 + 1000)), seed + 4) > 0.6f) log2 += 1.2f;
  if (x > 420 && x < 560 && y > 90 && y < 260) log2 += 4;
  return std::exp2(log2);
}
float bricks(float x, float y, uint32_t seed) {
  const float fx = x / 36 + 0.5f * float(int(std::floor(y / 18 + 1000)) % 2), fy = y / 18;
  const bool mortar = fx - std::floor(fx) < 0.12f || fy - std::floor(fy) < 0.2f;
  const float fired = 0.85f + 0.3f * lattice(int(std::floor(fx)), int(std::floor(fy)), seed + 1);
  return (mortar ? 0.25f : 0.1f * fired) * (0.8f + 0.2f * noise(x / 3, y / 3, seed)) *
         (0.7f + 0.6f * noise(x / 200, y / 150, seed));
}

struct Shot {
  Matrix warp = smhdr::align::kIdentity;  // reference pixel centres -> this shot's
  double gain = 1;                        // radiance -> sensor
  double noise = 0;                       // of full scale, at black; shot noise besides
  bool moving = false;   // a textured block over a fifth of the picture, elsewhere than in the reference
  double gamma = 2.2;    // quantised to 8 bits after this curve
  bool s_curve = false;  // and a camera's tone curve that nobody undoes
  uint32_t seed = 1;
  uint32_t noise_seed = 0;
  std::function<float(float, float, uint32_t)> radiance = scene;
};

std::vector<float> render(const Shot& shot, int64_t width = kWidth, int64_t height = kHeight) {
  const Matrix back = smhdr::align::inverse(shot.warp);
  std::vector<float> out(width * height);
  uint32_t state = hash(uint32_t(std::lround(shot.gain * 1000)) + 77 + 1009 * shot.noise_seed);
  const auto random = [&] { return float((state = hash(state + 0x9e3779b9u)) >> 8) / 16777216.0f; };
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x) {
      double sum = 0;
      for (int j = 0; j < 2; ++j)
        for (int i = 0; i < 2; ++i) {
          // One after the other: the order of two calls in one argument list is each compiler's own.
          const double py = double(y) + (j - 1 + random()) / 2, px = double(x) + (i - 1 + random()) / 2;
          const auto p = smhdr::align::apply(back, px, py);
          float value = shot.radiance(float(p.x), float(p.y), shot.seed);
          const bool block = shot.moving && p.x > 60 && p.x < 320 && p.y > 120 && p.y < 390;
          if (block) value = 0.2f * std::exp2(2 * noise(float(p.x) / 9 + 31, float(p.y) / 9, 99));
          sum += value;
        }
      double light = sum / 4 * shot.gain;
      // A sum of uniform numbers: near enough to normal.
      const double normal = random() + random() + random() + random() - 2;
      light += normal * 1.7 * std::sqrt(shot.noise * shot.noise + shot.noise * 0.02 * std::max(light, 0.0));
      light = std::clamp(light, 0.0, 1.0);
      double code = std::pow(light, 1 / shot.gamma);
      if (shot.s_curve) code = code * code * (3 - 2 * code);
      code = std::round(255 * code) / 255;
      out[y * width + x] = float(std::pow(code, shot.gamma));
    }
  return out;
}

AlignImage view(const std::vector<float>& pixels, int64_t width = kWidth, int64_t height = kHeight) {
  return {pixels.data(), width, height, 1};
}

/// Shift and rotation about the centre (pixels, degrees), and perspective (change of size over the picture).
Matrix warp_of(double dx, double dy, double degrees, double px = 0, double py = 0) {
  const double a = degrees * M_PI / 180, cx = (kWidth - 1) / 2.0, cy = (kHeight - 1) / 2.0;
  const Matrix to = {1, 0, -cx, 0, 1, -cy, 0, 0, 1};
  const Matrix turn = {std::cos(a), -std::sin(a), 0, std::sin(a), std::cos(a), 0, px / kWidth, py / kWidth, 1};
  const Matrix from = {1, 0, cx + dx, 0, 1, cy + dy, 0, 0, 1};
  return smhdr::align::normalised(smhdr::align::multiply(smhdr::align::multiply(from, turn), to));
}

double corner_error(const Matrix& a, const Matrix& b) {
  double worst = 0;
  for (const double x : {0.0, kWidth - 1.0})
    for (const double y : {0.0, kHeight - 1.0}) {
      const auto p = smhdr::align::apply(a, x, y), q = smhdr::align::apply(b, x, y);
      worst = std::max(worst, std::hypot(p.x - q.x, p.y - q.y));
    }
  return worst;
}

std::vector<ExposureAlignment> align(const std::vector<std::vector<float>>& shots, const std::vector<double>& values,
                                     int64_t reference, smhdr::ThreadPool& pool, int64_t width = kWidth,
                                     int64_t height = kHeight) {
  std::vector<AlignImage> images;
  for (const auto& shot : shots) images.push_back(view(shot, width, height));
  auto result = smhdr::align_bracket(images, values, reference, 1, pool);
  if (!CHECK(result.ok())) return std::vector<ExposureAlignment>(shots.size());
  return result.value();
}

void print(const char* name, const ExposureAlignment& a, double error) {
  std::printf("  %-28s outcome %d model %d moved %7.3f corner error %7.3f agreement %.3f -> %.3f with %d\n", name,
              int(a.outcome), int(a.model), a.displacement, error, a.agreement_before, a.agreement_after,
              int(a.compared_with));
}

/// One case: the reference at gain 1 and one other shot.
void check_warp(const char* name, const Shot& shot, double largest_error, smhdr::ThreadPool& pool,
                AlignModel model = AlignModel::identity) {
  Shot still = shot;
  still.warp = smhdr::align::kIdentity, still.gain = 1, still.moving = false, still.noise = 0.002;
  const auto result = align({render(still), render(shot)}, {0, std::log2(shot.gain)}, 0, pool)[1];
  const double error = corner_error(result.homography, shot.warp);
  print(name, result, error);
  CHECK(result.outcome == AlignOutcome::aligned);
  CHECK(error < largest_error);
  if (model != AlignModel::identity) CHECK(result.model == model);
}

void check_known_warps(smhdr::ThreadPool& pool) {
  const Matrix turned = warp_of(31.3, -22.7, 2.4), tilted = warp_of(-12.6, 9.2, -1.1, 0.02, -0.012);
  check_warp("shift", {.warp = warp_of(3.37, -5.71, 0), .gain = 4, .noise = 0.002}, 0.1, pool, AlignModel::translation);
  check_warp("a pixel and a half", {.warp = warp_of(1.2, 0.9, 0), .gain = 4, .noise = 0.002}, 0.1, pool,
             AlignModel::translation);
  check_warp("turned, +2 EV", {.warp = turned, .gain = 4, .noise = 0.002}, 0.1, pool, AlignModel::similarity);
  check_warp("turned, -4 EV, noisy", {.warp = turned, .gain = 1.0 / 16, .noise = 0.004}, 0.25, pool);
  check_warp("tilted, +2 EV", {.warp = tilted, .gain = 4, .noise = 0.002}, 0.1, pool, AlignModel::homography);
  check_warp("tilted, +4 EV, moving", {.warp = tilted, .gain = 16, .noise = 0.002, .moving = true}, 0.2, pool);
  check_warp("turned, -2 EV, moving", {.warp = turned, .gain = 0.25, .noise = 0.002, .moving = true}, 0.15, pool);
  check_warp("tone curve", {.warp = tilted, .gain = 4, .noise = 0.002, .s_curve = true}, 0.1, pool);
  check_warp("a tenth of the picture", {.warp = warp_of(63, -43, 4), .gain = 4, .noise = 0.002}, 0.1, pool);
  check_warp("bricks", {.warp = warp_of(21.2, 13.1, 0.5), .gain = 4, .noise = 0.002, .radiance = bricks}, 0.1, pool);
}

void check_left_alone(smhdr::ThreadPool& pool) {
  const auto reference = render({.noise = 0.002});
  for (const double gain : {0.0625, 0.25, 4.0, 16.0})
    for (const bool moving : {false, true}) {
      const auto r = align({reference, render({.gain = gain, .noise = 0.003, .moving = moving})}, {0, std::log2(gain)},
                           0, pool)[1];
      print(moving ? "still, something moves" : "still", r, corner_error(r.homography, smhdr::align::kIdentity));
      CHECK(r.outcome == AlignOutcome::still);
      CHECK(r.homography == smhdr::align::kIdentity);
    }
  const auto shifted = [&](double x, double y) {
    return align({reference, render({.warp = warp_of(x, y, 0), .gain = 4, .noise = 0.003})}, {0, 2}, 0, pool)[1];
  };
  const auto trembled = shifted(0.06, 0.08);
  CHECK(trembled.outcome == AlignOutcome::still && trembled.homography == smhdr::align::kIdentity);
  const auto moved = shifted(0.3, 0.4);
  CHECK(moved.outcome == AlignOutcome::aligned);
  CHECK(corner_error(moved.homography, warp_of(0.3, 0.4, 0)) < 0.1);
  for (const uint32_t seed : {500u, 600u, 700u}) {
    const auto r = align({reference, render({.gain = 4, .noise = 0.002, .seed = seed})}, {0, 2}, 0, pool)[1];
    print("unrelated", r, corner_error(r.homography, smhdr::align::kIdentity));
    CHECK(r.outcome == AlignOutcome::unreliable || r.outcome == AlignOutcome::no_overlap);
    CHECK(r.homography == smhdr::align::kIdentity);
  }
  for (const float level : {0.0f, 0.3f, 1.0f, NAN}) {
    const std::vector<float> flat(kWidth * kHeight, level);
    const auto a = align({reference, flat}, {0, 2}, 0, pool)[1];
    const auto b = align({flat, reference}, {0, 2}, 0, pool)[1];
    CHECK(a.outcome != AlignOutcome::aligned && a.homography == smhdr::align::kIdentity);
    CHECK(b.outcome != AlignOutcome::aligned && b.homography == smhdr::align::kIdentity);
  }
  for (const int64_t side : {1, 2, 3, 16, 47, 48, 64, 97}) {
    const auto r = align({render({}, side, side), render({.warp = warp_of(0, 0, 0), .gain = 4}, side, side)}, {0, 2}, 0,
                         pool, side, side)[1];
    CHECK(r.outcome != AlignOutcome::aligned);
  }
}

/// Twenty stops from left to right: the darkest and the brightest exposure share next to nothing with the reference,
/// and what little they do share may look right where it is not: they are chained through their neighbours.
void check_chain(smhdr::ThreadPool& pool) {
  const auto ramp = [](float x, float y, uint32_t seed) { return scene(x, y, seed) * std::exp2(x / 36 - 9); };
  const std::vector<double> values = {-9, -4.5, 0, 4.5, 9};
  int chained = 0;
  for (uint32_t noise_seed = 0; noise_seed < kChainSeeds; ++noise_seed) {
    std::vector<std::vector<float>> shots;
    std::vector<Matrix> warps;
    for (size_t i = 0; i < values.size(); ++i) {
      const double k = double(i) - 2;
      warps.push_back(warp_of(4.3 * k, -3.1 * k, 0.3 * k));
      shots.push_back(render({.warp = warps[i],
                              .gain = std::exp2(values[i]),
                              .noise = 0.0005,
                              .noise_seed = noise_seed,
                              .radiance = ramp}));
    }
    const auto results = align(shots, values, 2, pool);
    for (size_t i = 0; i < values.size(); ++i) {
      const double error = corner_error(results[i].homography, warps[i]);
      const bool right = CHECK(error < 0.5);
      if (noise_seed == 0 || !right) print(("chain " + std::to_string(noise_seed)).c_str(), results[i], error);
    }
    chained += (results[0].compared_with == 1) + (results[4].compared_with == 3);
  }
  CHECK(chained > int(kChainSeeds));
}

void check_threads() {
  const std::vector<std::vector<float>> shots = {
      render({.noise = 0.002}), render({.warp = warp_of(11.2, 4.1, 1), .gain = 4, .noise = 0.002, .moving = true})};
  smhdr::ThreadPool one(1), three(3);
  CHECK(align(shots, {0, 2}, 0, one)[1].homography == align(shots, {0, 2}, 0, three)[1].homography);
}

void check_arguments(smhdr::ThreadPool& pool) {
  const auto shot = render({}, 64, 64);
  const std::vector<AlignImage> two = {view(shot, 64, 64), view(shot, 64, 64)},
                                uneven = {view(shot, 64, 64), view(shot, 64, 32)};
  const std::vector<double> values = {0, 2}, one = {0}, infinite = {0, INFINITY};
  const auto fails = [&](const auto& images, const auto& v, int64_t reference, double scale) {
    const auto result = smhdr::align_bracket(images, v, reference, scale, pool);
    return !result.ok() && result.error().code == smhdr::ErrorCode::invalid_argument;
  };
  CHECK(fails(two, one, 0, 1));
  CHECK(fails(two, values, 2, 1));
  CHECK(fails(two, values, -1, 1));
  CHECK(fails(two, infinite, 0, 1));
  CHECK(fails(uneven, values, 0, 1));
  CHECK(fails(two, values, 0, 0.5));
  CHECK(fails(std::vector<AlignImage>{}, std::vector<double>{}, 0, 1));
  std::atomic<bool> cancelled = true;
  const auto result = smhdr::align_bracket(two, values, 0, 1, pool, {{}, &cancelled});
  CHECK(!result.ok() && result.error().code == smhdr::ErrorCode::cancelled);
}

}  // namespace

int main() {
  smhdr::ThreadPool pool;
  check_known_warps(pool);
  check_left_alone(pool);
  check_chain(pool);
  check_threads();
  check_arguments(pool);
  return smhdr::test::finish();
}
