// Every implementation of the kernels that follow movement against the plain loops, at sizes that hurt.
#include "op_comparison.h"
#include "ops/reference/motion.h"

using namespace smhdr;
using namespace smhdr::cpu;
using namespace smhdr::test;

namespace {

constexpr double kTolerance = 5e-6;  // relative to the largest value

struct Kernels {
  std::string label;
  const MotionKernels* kernels;
};
std::vector<Kernels> all;

void near(const std::string& name, const float* got, const float* expected, int64_t count, double scale = 1e-6,
          double tolerance = kTolerance) {
  double worst = 0;
  for (int64_t i = 0; i < count; ++i) scale = std::max(scale, std::fabs(double(expected[i])));
  for (int64_t i = 0; i < count; ++i) {
    const double d = std::fabs(double(got[i]) - expected[i]) / scale;
    if (!(d <= worst)) worst = std::isnan(d) ? INFINITY : d;
  }
  if (!CHECK(worst <= tolerance)) std::printf("  %s: %g\n", name.c_str(), worst);
}

/// A row with readable values on both sides.
struct Row {
  std::vector<float> values;
  Row(int64_t width, float spread, float mean) : values(random_values(width + 2, spread, mean)) {}
  float* at() { return values.data() + 1; }
};

/// Values between 0 and 1, like a picture's.
std::vector<float> picture_of(int64_t width, int64_t height) {
  std::vector<float> values = random_values(width * height, 0.3f, 0.5f);
  for (float& v : values) v = std::clamp(v, 0.0f, 1.0f);
  return values;
}

void test_patches(int64_t width, int64_t height) {
  const std::vector<float> value = picture_of(width, height), dx = random_values(width * height, 0.1f),
                           dy = random_values(width * height, 0.1f), other = picture_of(width, height);
  for (const auto& [fx, fy] : {std::pair{0.0f, 0.0f}, {1.0f, 1.0f}, {0.3f, 0.8f}})
    for (const auto& [x, y] :
         {std::pair<int64_t, int64_t>{0, 0}, {width - kMotionPatch - 1, height - kMotionPatch - 1}}) {
      const int64_t at = (height - kMotionPatch) * width + width - kMotionPatch;
      const MotionPatch patch{
          value.data() + at, dx.data() + at, dy.data() + at, other.data() + y * width + x, width, fx, fy};
      double sums[3], slopes[3];
      reference::motion_compare(patch, sums);
      reference::motion_texture(patch.dx, patch.dy, width, slopes);
      const float expected[] = {float(sums[0]), float(sums[1]), float(sums[2])};
      const float expected_slopes[] = {float(slopes[0]), float(slopes[1]), float(slopes[2])};
      for (const auto& [label, kernels] : all) {
        const MotionSums s = kernels->compare(patch);
        const float got[] = {s.squares, s.x, s.y};
        near("compare on " + label, got, expected, 3);
        const float cost = kernels->cost(patch);
        near("cost on " + label, &cost, expected, 1);
        float texture[3];
        kernels->texture(patch.dx, patch.dy, width, texture);
        near("texture on " + label, texture, expected_slopes, 3);
      }
    }
}

void test_pictures(int64_t width, int64_t height) {
  const std::vector<float> value = picture_of(width, height);
  const MotionPicture picture{value.data(), width, height};
  // Far beyond the border too.
  const std::vector<float> u = random_values(width, 6.0f), v = random_values(width, 6.0f);
  for (int64_t y : {int64_t(0), height / 2, height - 1}) {
    const std::string name = std::to_string(width) + " wide, row " + std::to_string(y) + " on ";
    std::vector<float> got(width), expected(width);
    reference::motion_warp(picture, u.data(), v.data(), y, expected.data());
    for (const auto& [label, kernels] : all) {
      std::fill(got.begin(), got.end(), -7.0f);
      kernels->warp(picture, u.data(), v.data(), y, got.data());
      // A place is known to about 1e-7 of the picture's width.
      near("warp " + name + label, got.data(), expected.data(), width, 1, 1e-6 + 1e-7 * double(width));
    }
    if (width <= kMotionPatch || height < 2) continue;
    const std::vector<float> row = picture_of(width, 1);
    const int64_t step = 4, count = (width - kMotionPatch + step - 1) / step + 1;
    std::vector<float> sums[3], right[3];
    for (auto& plane : right) plane.assign(width, 0.25f);
    reference::motion_spread(row.data(), picture, y, {u.data(), v.data(), count, step}, 0.01f, right[0].data(),
                             right[1].data(), right[2].data());
    for (const auto& [label, kernels] : all) {
      for (auto& plane : sums) plane.assign(width, 0.25f);
      kernels->spread(row.data(), picture, y, {u.data(), v.data(), count, step}, 0.01f, sums[0].data(), sums[1].data(),
                      sums[2].data());
      // The weight of a small difference changes with its last digits.
      for (int k = 0; k < 3; ++k) near("spread " + name + label, sums[k].data(), right[k].data(), width, 1, 2e-4);
    }
  }
}

void test_light(int64_t count) {
  std::vector<float> light = random_values(count, 0.4f, 0.4f), sum = random_values(count, 0.2f, 1.0f);
  light[count / 2] = std::nanf("");
  std::vector<float> expected = sum;
  reference::motion_add_light(light.data(), count, 1.7f, expected.data());
  for (const auto& [label, kernels] : all) {
    std::vector<float> got = sum;
    kernels->add_light(light.data(), count, 1.7f, got.data());
    near("light, " + std::to_string(count) + " values on " + label, got.data(), expected.data(), count, 1);
  }
  for (float& v : expected) v = std::abs(v);
  expected[0] = 0;
  for (const auto& [label, kernels] : all) {
    std::vector<float> got = expected, roots = expected;
    kernels->roots(got.data(), count);
    reference::motion_roots(roots.data(), count);
    near("roots of " + std::to_string(count) + " values on " + label, got.data(), roots.data(), count, 1);
  }
}

void test_equations(int64_t width, bool first, bool last) {
  const MotionLimits limits{0.05f, 0.03f, 0.03f};
  const std::string name = std::to_string(width) + " wide on ";
  std::vector<Row> planes;
  for (int i = 0; i < 12; ++i) planes.emplace_back(width, 0.4f, 0.5f);
  const auto rows = [&](int i) { return MotionRows{planes[i].at(), planes[i + 1].at(), planes[i + 2].at()}; };
  const MotionRows u = rows(0), v = rows(3), warped = rows(6);
  const float* from = planes[9].at();

  std::vector<float> dx(width), dy(width), got(width), got_dy(width);
  reference::motion_slopes(u.above, u.at, u.below, width, dx.data(), dy.data());
  for (const auto& [label, kernels] : all) {
    kernels->slopes(u.above, u.at, u.below, width, got.data(), got_dy.data());
    near("slopes across, " + name + label, got.data(), dx.data(), width);
    near("slopes down, " + name + label, got_dy.data(), dy.data(), width);
  }
  std::vector<std::vector<float>> resistance(3, std::vector<float>(width));
  for (auto& row : resistance) {
    reference::motion_resistance(u, v, width, limits, row.data());
    for (const auto& [label, kernels] : all) {
      kernels->resistance(u, v, width, limits, got.data());
      near("resistance, " + name + label, got.data(), row.data(), width);
    }
    for (float& r : row) r *= 0.5f + 0.1f * random_values(1, 1.0f)[0];
  }
  const MotionRows weights{first ? nullptr : resistance[0].data(), resistance[1].data(),
                           last ? nullptr : resistance[2].data()};
  struct Storage {
    std::vector<Row> rows;
    explicit Storage(int64_t w) {
      for (int i = 0; i < 7; ++i) rows.emplace_back(w, 0.0f, 0.0f);
    }
    MotionEquations view() {
      return {rows[0].at(), rows[1].at(), rows[2].at(), rows[3].at(), rows[4].at(), rows[5].at(), rows[6].at()};
    }
  };
  Storage expected(width), result(width);
  reference::motion_equations(from, dx.data(), dy.data(), warped, u.at, v.at, weights, width, limits, expected.view());
  for (const auto& [label, kernels] : all) {
    kernels->equations(from, dx.data(), dy.data(), warped, u.at, v.at, weights, width, limits, result.view());
    for (int i = 0; i < 7; ++i)
      near("equations " + std::to_string(i) + ", " + name + label, result.rows[i].at(), expected.rows[i].at(), width,
           1e-6, 2e-5);
  }
  std::vector<float> down_above(width, first ? 0.0f : 0.7f), to_u(width), to_v(width), right_u(width), right_v(width);
  for (int64_t start : {0, 1}) {
    reference::motion_relax(expected.view(), down_above.data(), u, v, width, start, 1.6f, right_u.data(),
                            right_v.data());
    for (const auto& [label, kernels] : all) {
      kernels->relax(expected.view(), down_above.data(), u, v, width, start, 1.6f, to_u.data(), to_v.data());
      near("relax u, " + name + label, to_u.data(), right_u.data(), width, 1);
      near("relax v, " + name + label, to_v.data(), right_v.data(), width, 1);
      for (int64_t x = 1 - start; x < width; x += 2) CHECK(to_u[x] == u.at[x] && to_v[x] == v.at[x]);
    }
  }
}

}  // namespace

int main() {
  for (CpuIsa isa : kCpuIsas)
    if (cpu_has(isa)) all.push_back({cpu_isa_name(isa), &motion_kernels(isa)});
  for (auto [width, height] : {std::pair<int64_t, int64_t>{9, 9}, {17, 10}, {64, 33}}) test_patches(width, height);
  for (auto [width, height] : {std::pair<int64_t, int64_t>{2, 2}, {3, 9}, {9, 9}, {16, 12}, {33, 17}, {131, 40}})
    test_pictures(width, height);
  for (int64_t width : {1, 2, 3, 15, 16, 17, 31, 64, 129}) {
    test_light(width);
    test_equations(width, false, false);
    test_equations(width, true, false);
    test_equations(width, false, true);
  }
  return finish();
}
