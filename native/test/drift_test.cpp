// Taking a picture's drift back: against plain loops at many sizes, cuts and threads against the whole, and what must
// stay as it is.
#include "smhdr/drift.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "check.h"
#include "op_comparison.h"

using smhdr::Drift;
using smhdr::ThreadPool;
using smhdr::test::random_values;

namespace {

constexpr double kTolerance = 2e-6;  // of 1

struct Pictures {
  int64_t width, height;
  std::vector<float> picture, merge, reference;  // 3, 3 and 6 values a pixel
  float merge_scale = 0.5f;
};

double mu_law(double light) { return std::log1p(5000 * std::clamp(light, 0.0, 1.0)) / std::log1p(5000); }
double light_of(double value) { return std::expm1(value * std::log1p(5000)) / 5000; }

/// A scene of slow light with fine texture, the picture darker than it by `drift` of the mu-law, the merge noisy.
Pictures scene(int64_t width, int64_t height, double drift, double noise = 0.01) {
  Pictures p{width, height, {}, {}, std::vector<float>(width * height * 6, 0.5f)};
  const std::vector<float> fine = random_values(width * height * 3, 0.02f, 0);
  const std::vector<float> grain = random_values(width * height * 3, float(noise), 0);
  for (int64_t i = 0; i < width * height * 3; ++i) {
    const double slow = 0.4 + 0.2 * std::sin(double(i / 3 % width) / 40) + 0.1 * std::cos(double(i / 3 / width) / 30);
    p.picture.push_back(float(light_of(slow + fine[i] - drift)));
    p.merge.push_back(float(light_of(slow + fine[i] + grain[i])) / p.merge_scale);
  }
  return p;
}

std::vector<float> taken_back(const Pictures& p, int64_t band, int threads) {
  ThreadPool pool(threads);
  auto drift = Drift::create(p.width, p.height);
  std::vector<float> out = p.picture;
  if (!CHECK(drift.ok())) return out;
  const auto bands = [&](auto&& body) {
    for (int64_t y = 0; y < p.height; y += band) CHECK(body(y, std::min(band, p.height - y), y * p.width).ok());
  };
  bands([&](int64_t y, int64_t rows, int64_t at) {
    return drift.value().measure(y, rows, &out[3 * at], &p.merge[3 * at], p.merge_scale, &p.reference[6 * at], pool);
  });
  drift.value().smooth(pool);
  bands([&](int64_t y, int64_t rows, int64_t at) { return drift.value().take_back(y, rows, &out[3 * at], pool); });
  return out;
}

/// What the header says, pixel by pixel.
std::vector<float> plain(const Pictures& p) {
  const int64_t across = (p.width + 3) / 4, down = (p.height + 3) / 4;
  std::vector<double> square(across * down * 4), gain(across * down * 3);
  for (int64_t s = 0; s < across * down; ++s) {
    double drift[3] = {}, most = 0, brightest = 0;
    int pixels = 0;
    for (int64_t y = s / across * 4; y < std::min(p.height, s / across * 4 + 4); ++y)
      for (int64_t x = s % across * 4; x < std::min(p.width, s % across * 4 + 4); ++x, ++pixels)
        for (int c = 0; c < 3; ++c) {
          const int64_t i = y * p.width + x;
          drift[c] += mu_law(p.merge[3 * i + c] * p.merge_scale) - mu_law(p.picture[3 * i + c]);
          brightest = std::max(brightest, double(p.reference[6 * i + 3 + c]));
        }
    for (double& each : drift) most = std::max(most, std::abs(each /= pixels));
    const double t = std::clamp((std::pow(brightest, 2.2) - 0.8) / 0.16, 0.0, 1.0);
    const double half = 0.15 + t * t * (3 - 2 * t) * (0.025 - 0.15);
    square[4 * s + 3] = 1 / (1 + std::pow(most / half, 4));
    for (int c = 0; c < 3; ++c) square[4 * s + c] = drift[c] * square[4 * s + 3];
  }
  for (int64_t s = 0; s < across * down; ++s) {
    double sums[4] = {};
    for (int dy = -1; dy <= 1; ++dy)
      for (int dx = -1; dx <= 1; ++dx) {
        const int64_t y = std::clamp<int64_t>(s / across + dy, 0, down - 1);
        const int64_t x = std::clamp<int64_t>(s % across + dx, 0, across - 1);
        for (int k = 0; k < 4; ++k) sums[k] += square[(y * across + x) * 4 + k] * (2 - dy * dy) * (2 - dx * dx) / 16;
      }
    for (int c = 0; c < 3; ++c)
      gain[3 * s + c] = std::exp(std::log1p(5000) * square[4 * s + 3] * sums[c] / (sums[3] + 1e-3));
  }
  std::vector<float> out = p.picture;
  for (int64_t y = 0; y < p.height; ++y)
    for (int64_t x = 0; x < p.width; ++x) {
      const double fy = std::clamp((double(y) + 0.5) / 4 - 0.5, 0.0, double(down - 1));
      const double fx = std::clamp((double(x) + 0.5) / 4 - 0.5, 0.0, double(across - 1));
      for (int c = 0; c < 3; ++c) {
        double g = 0;
        for (int64_t j = int64_t(fy); j <= std::min(down - 1, int64_t(fy) + 1); ++j)
          for (int64_t i = int64_t(fx); i <= std::min(across - 1, int64_t(fx) + 1); ++i)
            g += gain[(j * across + i) * 3 + c] * (1 - std::abs(fy - double(j))) * (1 - std::abs(fx - double(i)));
        float& value = out[(y * p.width + x) * 3 + c];
        value = float(std::clamp(((1 + 5000 * value) * g - 1) / 5000, 0.0, 1.0));
      }
    }
  return out;
}

double farthest(const std::vector<float>& a, const std::vector<float>& b) {
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(double(a[i]) - b[i]));
  return most;
}

void test_against_plain_loops() {
  for (const auto& [width, height] : {std::pair{1, 1}, {3, 2}, {4, 4}, {5, 9}, {17, 1}, {64, 32}, {131, 67}})
    for (const double drift : {0.0, 0.03, 0.2}) {
      Pictures p = scene(width, height, drift, 0.03);
      for (size_t i = 0; i < p.reference.size(); ++i) p.reference[i] = i / 6 % 9 < 4 ? 0.95f : 0.3f;
      const std::vector<float> whole = taken_back(p, height + 3, 1);
      CHECK(farthest(whole, plain(p)) < kTolerance);
      CHECK(whole == taken_back(p, 4, 3));
      CHECK(whole == taken_back(p, 12, 2));
    }
}

double mean_difference(const std::vector<float>& a, const Pictures& p) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += mu_law(a[i]) - mu_law(p.merge[i] * p.merge_scale);
  return sum / double(a.size());
}

void test_drift_goes_and_the_rest_stays() {
  const Pictures p = scene(160, 120, 0.03);
  CHECK(std::abs(mean_difference(p.picture, p) + 0.03) < 2e-3);
  const std::vector<float> out = taken_back(p, 160, 2);
  CHECK(std::abs(mean_difference(out, p)) < 2e-3);
  // The merge's noise does not come in: every pixel moves by the drift and little else.
  double squares = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    const double moved = mu_law(out[i]) - mu_law(p.picture[i]) - 0.03;
    squares += moved * moved;
  }
  CHECK(std::sqrt(squares / double(out.size())) < 0.002);  // the noise has 0.0058

  // What is not the same thing: a part in which the merge shows a ghost.
  Pictures ghost = scene(160, 120, 0);
  for (int64_t y = 40; y < 80; ++y)
    for (int64_t x = 40; x < 80; ++x)
      for (int c = 0; c < 3; ++c) ghost.merge[(y * 160 + x) * 3 + c] = 2;
  CHECK(farthest(taken_back(ghost, 160, 2), ghost.picture) < 0.02);

  // Where the reference clips, a difference that is drift elsewhere may be what moved.
  Pictures clipped = scene(160, 120, 0.06);
  const double shown = mean_difference(taken_back(clipped, 160, 2), clipped);
  std::fill(clipped.reference.begin(), clipped.reference.end(), 1.0f);
  const double hidden = mean_difference(taken_back(clipped, 160, 2), clipped);
  CHECK(std::abs(shown) < 0.006 && hidden < -0.05);
}

void test_bad_input() {
  Pictures p = scene(32, 32, 0.03);
  const std::vector<float> sound = taken_back(p, 32, 1);
  p.picture[(16 * 32 + 16) * 3] = std::numeric_limits<float>::quiet_NaN();
  p.merge[(3 * 32 + 3) * 3 + 1] = std::numeric_limits<float>::infinity();
  const std::vector<float> out = taken_back(p, 32, 1);
  int64_t numbers = 0;
  for (const float value : out) numbers += std::isfinite(value);
  CHECK(numbers == int64_t(out.size()) - 1);  // it stays where it was, and does not spread
  for (const float& value : out) CHECK(!std::isfinite(value) || std::abs(value - sound[&value - out.data()]) < 0.05);

  CHECK(!Drift::create(0, 4).ok() && !Drift::create(4, -1).ok() && !Drift::create(int64_t(1) << 25, 1).ok());
  ThreadPool pool(1);
  auto drift = Drift::create(8, 10);
  std::vector<float> values(8 * 10 * 6);
  const auto refused = [&](int64_t y0, int64_t rows) {
    float* at = values.data();
    return !drift.value().measure(y0, rows, at, at, 1, at, pool).ok() &&
           !drift.value().take_back(y0, rows, at, pool).ok();
  };
  CHECK(refused(2, 4) && refused(0, 3) && refused(-4, 4) && refused(8, 4) && refused(0, 0) && refused(4, 20));
  CHECK(drift.value().measure(8, 2, values.data(), values.data(), 1, values.data(), pool).ok());
}

}  // namespace

int main() {
  test_against_plain_loops();
  test_drift_goes_and_the_rest_stays();
  test_bad_input();
  return smhdr::test::finish();
}
