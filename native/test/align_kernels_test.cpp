// Every implementation of alignment's kernels against the plain loops, at sizes that hurt.
#include <cstring>

#include "op_comparison.h"
#include "ops/reference/align.h"

using namespace smhdr;
using namespace smhdr::cpu;
using namespace smhdr::test;

namespace {

// Relative to the largest value; sums of some hundred terms in fp32.
constexpr double kRowTolerance = 2e-6, kSumTolerance = 2e-5;
constexpr AlignLimits kLimits{0.9f, 0.25f, 0.02f, 0.01f};

struct Kernels {
  std::string label;
  const AlignKernels* kernels;
};
std::vector<Kernels> all;

void near(const std::string& name, const float* got, const float* expected, int64_t count, double tolerance,
          double least_scale = 1e-6) {
  double scale = least_scale, worst = 0;
  for (int64_t i = 0; i < count; ++i)
    if (std::isfinite(expected[i])) scale = std::max(scale, std::fabs(double(expected[i])));
  for (int64_t i = 0; i < count; ++i) {
    if (std::isnan(expected[i]) && std::isnan(got[i])) continue;
    const double d = std::fabs(double(got[i]) - expected[i]) / scale;
    if (!(d <= worst)) worst = std::isnan(d) ? INFINITY : d;
  }
  if (!CHECK(worst <= tolerance)) std::printf("  %s: %g\n", name.c_str(), worst);
}

/// Light between 0 and 1.2, some of it beyond the limits.
std::vector<float> light(int64_t count) {
  std::vector<float> values = random_values(count, 0.35f, 0.4f);
  for (float& v : values) v = std::min(std::max(v, 0.0f), 1.2f);
  return values;
}

void test_rows(int64_t width) {
  for (int64_t channels : {1, 3}) {
    std::vector<float> in = light(width * channels);
    if (width > 4)
      in[0] = NAN, in[channels] = INFINITY, in[2 * channels] = -1, in[4 * channels] = -INFINITY,
      in[4 * channels - 1] = 2;
    std::vector<float> luminance(width), clipped(width), expected(width), expected_clipped(width);
    reference::align_luminance(in.data(), channels, width, kLimits, expected.data(), expected_clipped.data());
    for (const auto& [label, kernels] : all) {
      std::fill(luminance.begin(), luminance.end(), -7.0f), std::fill(clipped.begin(), clipped.end(), -7.0f);
      kernels->luminance(in.data(), channels, width, kLimits, luminance.data(), clipped.data());
      near("luminance " + std::to_string(width) + " on " + label, luminance.data(), expected.data(), width,
           kRowTolerance);
      CHECK(clipped == expected_clipped);
    }
  }
  std::vector<std::vector<float>> planes;
  AlignRows rows{};
  for (int row = 0; row < 4; ++row) {
    planes.push_back(light(width));
    planes.push_back(light(width));
    for (float& v : planes.back()) v = v > 0.9f;
  }
  for (int row = 0; row < 4; ++row)
    rows.luminance[row] = planes[2 * row].data(), rows.clipped[row] = planes[2 * row + 1].data();
  const int64_t half = (width + 1) / 2;
  std::vector<float> a(half), b(half), c(half), d(half), value(width), expected(width);
  std::vector<uint8_t> valid(width), expected_valid(width);
  reference::align_halve(rows, width, half, a.data(), b.data());
  reference::align_level(rows, width, kLimits, expected.data(), expected_valid.data());
  for (const auto& [label, kernels] : all) {
    const std::string name = std::to_string(width) + " on " + label;
    // What a kernel leaves unwritten must not be the one before's.
    for (auto* out : {&c, &d, &value}) std::fill(out->begin(), out->end(), -7.0f);
    std::fill(valid.begin(), valid.end(), uint8_t{7});
    kernels->halve(rows, width, half, c.data(), d.data());
    near("halve " + name, c.data(), a.data(), half, kRowTolerance);
    near("halve, clipping, " + name, d.data(), b.data(), half, kRowTolerance);
    kernels->level(rows, width, kLimits, value.data(), valid.data());
    near("level " + name, value.data(), expected.data(), width, kRowTolerance, 1);
    CHECK(valid == expected_valid);
  }
}

/// Points in whole groups, in the picture and beyond it; the last group is not full.
struct Points {
  std::vector<float> x, y, position;
  AlignPoints view;
  Points(int64_t count, int64_t width, int64_t height, int cells) {
    const int64_t padded = (count + kPointGroup - 1) / kPointGroup * kPointGroup;
    std::uniform_real_distribution<float> across(-2, float(width) + 2), down(-2, float(height) + 2),
        cell(0, float(cells) - 1.001f);
    for (int64_t i = 0; i < padded; ++i) {
      x.push_back(i < count ? across(random_bits) : kNowhere);
      y.push_back(i < count ? down(random_bits) : kNowhere);
      position.push_back(i < count ? cell(random_bits) : 0);
    }
    view = {x.data(), y.data(), position.data(), padded};
  }
};

void test_points(int64_t width, int64_t height, int64_t count) {
  std::vector<float> value = random_values(width * height);
  std::vector<uint8_t> valid(width * height);
  for (uint8_t& v : valid) v = random_bits() % 8 != 0;
  // Places are fp32 too: off by roundings of the picture's side, times the slope there. Few points may all be near 0.
  const double tolerance = 5e-6 + 8 * 0x1p-23 * double(std::max(width, height));
  double largest = 1;
  for (float v : value) largest = std::max(largest, std::fabs(double(v)));
  const AlignField field{value.data(), valid.data(), width, height};
  const Points points(count, width, height, 9);
  const int64_t n = points.view.count;
  const float warps[][9] = {{1, 0, 0, 0, 1, 0, 0, 0, 1},
                            {0.98f, 0.03f, 1.7f, -0.02f, 1.01f, -0.6f, 0, 0, 1},
                            {1.01f, -0.02f, 0.4f, 0.01f, 0.99f, 0.3f, 1e-4f, -2e-4f, 1}};
  for (const auto& warp : warps) {
    std::vector<float> expected(n), dx(n), dy(n), got(n), got_x(n), got_y(n);
    reference::align_sample(field, warp, points.view, {expected.data(), dx.data(), dy.data()});
    // A place on the rim of a pixel may fall to either side: taken out of the comparison.
    const auto doubtful = [&](int64_t i) {
      const double d = 1 / (double(warp[6]) * points.x[i] + double(warp[7]) * points.y[i] + warp[8]);
      for (int axis = 0; axis < 2; ++axis) {
        const float* h = warp + 3 * axis;
        const double at = 2 * (double(h[0]) * points.x[i] + double(h[1]) * points.y[i] + h[2]) * d;
        if (std::fabs(at - std::round(at)) < 1e-4) return true;
      }
      return false;
    };
    for (const auto& [label, kernels] : all) {
      const std::string name = std::to_string(width) + "x" + std::to_string(height) + " on " + label;
      for (bool gradient : {true, false}) {
        for (auto* out : {&got, &got_x, &got_y}) std::fill(out->begin(), out->end(), 7.0f);
        kernels->sample(field, warp, points.view,
                        {got.data(), gradient ? got_x.data() : nullptr, gradient ? got_y.data() : nullptr});
        for (int64_t i = 0; i < n; ++i)
          if (doubtful(i)) got[i] = expected[i], got_x[i] = dx[i], got_y[i] = dy[i];
        near("sample " + name, got.data(), expected.data(), n, tolerance, largest);
        if (!gradient) continue;
        near("sample, across, " + name, got_x.data(), dx.data(), n, tolerance, largest);
        near("sample, down, " + name, got_y.data(), dy.data(), n, tolerance, largest);
      }
    }
    std::vector<CurvePoint> curve;
    for (int i = 0; i < 9; ++i) curve.push_back({0.2f * float(i) - 0.8f, 0.5f + 0.1f * float(i)});
    const AlignFrame frame{2.0f / float(width), -1, 2.0f / float(height), -1, float(width) / 2, float(height) / 2};
    const float frame_warp[] = {1.01f, 0.02f, 0.05f, -0.01f, 0.98f, 0.02f, 0.03f, -0.02f, 1};
    const AlignSamples samples{expected.data(), dx.data(), dy.data()};
    for (int unknowns : {2, 4, 8}) {
      AlignSums right, sums;
      reference::align_sum(points.view, samples, curve.data(), frame_warp, frame, 4, unknowns, right);
      const int terms = unknowns * (unknowns + 1) / 2;
      double scale_a = 1e-6, scale_b = 1e-6;
      for (int k = 0; k < terms; ++k) scale_a = std::max(scale_a, std::fabs(right.a[k]));
      // b may all but cancel: its terms are as large as the roots of a's sums.
      scale_b = std::sqrt(scale_a * double(n));
      for (const auto& [label, kernels] : all) {
        std::memset(static_cast<void*>(&sums), 0xff, sizeof sums);
        kernels->sum(points.view, samples, curve.data(), frame_warp, frame, 4, unknowns, sums);
        double worst = 0;
        const auto look = [&](double got, double expected, double scale) {
          const double d = std::fabs(got - expected) / scale;
          if (!(d <= worst)) worst = std::isnan(d) ? INFINITY : d;
        };
        for (int k = 0; k < terms; ++k) look(sums.a[k], right.a[k], scale_a);
        for (int k = 0; k < unknowns; ++k) look(sums.b[k], right.b[k], scale_b);
        if (!CHECK(worst <= kSumTolerance))
          std::printf("  sum of %d unknowns, %d points on %s: %g\n", unknowns, int(count), label.c_str(), worst);
      }
    }
  }
}

}  // namespace

int main() {
  for (CpuIsa isa : kCpuIsas)
    if (cpu_has(isa)) all.push_back({cpu_isa_name(isa), &align_kernels(isa)});
  for (int64_t width : {1, 2, 3, 5, 16, 17, 31, 64, 511, 512, 513, 1025, 1100}) test_rows(width);
  for (auto [width, height, count] :
       {std::tuple{1, 1, 3}, {3, 9, 16}, {4, 4, 40}, {5, 7, 33}, {64, 48, 700}, {131, 97, 1501}})
    test_points(width, height, count);
  return finish();
}
