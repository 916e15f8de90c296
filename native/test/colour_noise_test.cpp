// Taking colour noise away: against plain loops at many sizes, with exposures to measure it by and without, threads
// against one, and what must stay as it is.
#include "smhdr/colour_noise.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>
#include <vector>

#include "check.h"
#include "op_comparison.h"
#include "smhdr/progress.h"

using smhdr::ColourNoise;
using smhdr::ThreadPool;
using smhdr::test::random_values;

namespace {

constexpr double kTolerance = 2e-5;  // of the mu-law's 1: a frequency at the threshold counts or not

double mu_law(double light) { return std::log1p(5000 * std::clamp(light, 0.0, 1.0)) / std::log1p(5000); }
double light_of(double value) { return std::expm1(value * std::log1p(5000)) / 5000; }

struct Picture {
  int64_t width, height;
  std::vector<float> values;
};

/// Slow light with texture that is alike in all colours, an edge of colour, and noise of this deviation in each.
Picture scene(int64_t width, int64_t height, double noise, double texture = 0.03) {
  Picture p{width, height, {}};
  const std::vector<float> fine = random_values(width * height, 1, 0), grain = random_values(width * height * 3, 1, 0);
  for (int64_t i = 0; i < width * height * 3; ++i) {
    const int64_t x = i / 3 % width, y = i / 3 / width;
    const double slow = 0.4 + 0.2 * std::sin(double(x) / 40) + 0.1 * std::cos(double(y) / 30);
    const double colour = i % 3 == 0 && x > width / 2 ? 0.1 : 0;
    p.values.push_back(float(light_of(slow + colour + texture * fine[i / 3] + noise * grain[i])));
  }
  return p;
}

/// Exposures of a picture, the shortest first, as a network reads them.
struct Exposures {
  std::vector<float> stops;
  std::vector<std::vector<float>> values;
};

/// With noise of the shortest one's deviation, and of the others as shot noise has it.
Exposures exposures_of(const Picture& p, const std::vector<float>& stops, double noise) {
  Exposures out{stops, {}};
  for (const float ev : stops) {
    const std::vector<float> grain = random_values(p.width * p.height * 3, float(noise / std::exp2(ev / 2)), 0);
    std::vector<float>& values = out.values.emplace_back();
    for (size_t i = 0; i < grain.size(); i += 3) {
      float light[3];
      for (int c = 0; c < 3; ++c)
        light[c] = std::min(float(light_of(mu_law(p.values[i + c]) + grain[i + c])), float(std::exp2(-ev)));
      values.insert(values.end(), light, light + 3);
      for (const float l : light) values.push_back(std::pow(l * std::exp2(ev), 1 / 2.2f));
    }
  }
  return out;
}

std::vector<float> cleaned(const Picture& p, int threads, const Exposures& seen = {}) {
  ThreadPool pool(threads);
  smhdr::Result<ColourNoise> created = ColourNoise::create(p.width, p.height, seen.stops);
  CHECK(created.ok());
  ColourNoise& noise = created.value();
  const std::vector<int64_t> tops = noise.tops();
  for (auto i = int64_t(tops.size()) - 1; i >= 0; --i) {
    std::vector<const float*> rows;
    for (const auto& values : seen.values) rows.push_back(values.data() + tops[i] * p.width * 6);
    CHECK(noise.measure(i, rows, pool).ok());
  }
  std::vector<float> out = p.values;
  CHECK(noise.take_away(out.data(), pool).ok());
  return out;
}

struct Tone {
  double brightness, noise[2];
};

/// Of squares, sorted in here.
std::vector<Tone> tones_of(std::vector<Tone> squares) {
  std::vector<Tone> tones;
  std::sort(squares.begin(), squares.end(), [](const Tone& a, const Tone& b) { return a.brightness < b.brightness; });
  const size_t bins = std::min<size_t>(24, squares.size() / 64);
  for (size_t bin = 0; bin < bins; ++bin) {
    const size_t begin = squares.size() * bin / bins, end = squares.size() * (bin + 1) / bins;
    Tone tone{};
    for (size_t i = begin; i < end; ++i) tone.brightness += squares[i].brightness / double(end - begin);
    for (int c = 0; c < 2; ++c) {
      std::vector<double> seen;
      for (size_t i = begin; i < end; ++i) seen.push_back(squares[i].noise[c]);
      std::sort(seen.begin(), seen.end());
      tone.noise[c] = seen[size_t(0.3 * double(seen.size()))];
    }
    tones.push_back(tone);
  }
  return tones;
}

double deviation_at(const std::vector<Tone>& tones, double at, int c) {
  if (at <= tones[0].brightness) return tones[0].noise[c];
  for (size_t i = 1; i < tones.size(); ++i)
    if (at <= tones[i].brightness) {
      const double along = (at - tones[i - 1].brightness) / (tones[i].brightness - tones[i - 1].brightness);
      return tones[i - 1].noise[c] + along * (tones[i].noise[c] - tones[i - 1].noise[c]);
    }
  return tones.back().noise[c];
}

/// The two differences of colour of a pixel of mu-law values.
std::pair<double, double> colours_of(double r, double g, double b) {
  return {(r - b) / std::sqrt(2), (2 * g - r - b) / std::sqrt(6)};
}

/// What the header says, pixel by pixel, in doubles.
std::vector<double> plain(const Picture& p, const Exposures& seen = {}) {
  const int64_t w = p.width, h = p.height;
  std::vector<double> out(p.values.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = mu_law(p.values[i]);
  if (w < 8 || h < 8 || (w / 8) * (h / 8) < 64) return out;
  std::vector<double> brightness(w * h), colours[2] = {brightness, brightness};
  for (int64_t i = 0; i < w * h; ++i) {
    const double r = out[3 * i], g = out[3 * i + 1], b = out[3 * i + 2];
    brightness[i] = (r + g + b) / 3;
    std::tie(colours[0][i], colours[1][i]) = colours_of(r, g, b);
  }
  const auto squares_of = [&](const std::vector<double>& bright, const std::vector<double>(&values)[2]) {
    std::vector<Tone> squares;
    for (int64_t y = 0; y + 8 <= h; y += 8)
      for (int64_t x = 0; x + 8 <= w; x += 8) {
        Tone tone{};
        for (int64_t k = 0; k < 64; ++k) tone.brightness += bright[(y + k / 8) * w + x + k % 8] / 64;
        for (int c = 0; c < 2; ++c) {
          const auto at = [&](int64_t k, int64_t dy, int64_t dx) {
            return values[c][(y + k / 7 + dy) * w + x + k % 7 + dx];
          };
          for (int64_t k = 0; k < 49; ++k)
            tone.noise[c] += std::pow((at(k, 0, 0) - at(k, 0, 1) - at(k, 1, 0) + at(k, 1, 1)) / 2, 2) / 49;
          tone.noise[c] = std::sqrt(tone.noise[c]);
        }
        if (std::isfinite(tone.brightness) && std::isfinite(tone.noise[0])) squares.push_back(tone);
      }
    return squares;
  };
  const std::vector<Tone> own = tones_of(squares_of(brightness, colours));
  struct Pair {
    std::vector<Tone> tones;
    double share;
  };
  std::vector<Pair> pairs;
  for (size_t i = 0; i + 1 < seen.values.size(); ++i) {
    std::vector<double> longer(w * h), differences[2] = {longer, longer};
    for (int64_t at = 0; at < w * h; ++at) {
      double mu[2][3], most = 0, bright = 0;
      for (int c = 0; c < 3; ++c) {
        for (int k = 0; k < 2; ++k) mu[k][c] = mu_law(seen.values[i + k][6 * at + c]);
        bright += mu[1][c] / 3, most = std::max(most, double(seen.values[i + 1][6 * at + 3 + c]));
      }
      const auto [a, b] = colours_of(mu[1][0] - mu[0][0], mu[1][1] - mu[0][1], mu[1][2] - mu[0][2]);
      longer[at] = std::pow(most, 2.2) < 0.8 ? bright : NAN;
      differences[0][at] = a, differences[1][at] = b;
    }
    const double ratio = std::exp2(double(seen.stops[i + 1]) - seen.stops[i]);
    std::vector<Tone> tones = tones_of(squares_of(longer, differences));
    if (!tones.empty()) pairs.push_back({tones, 0.625 * std::sqrt(ratio) / (1 + ratio)});
  }
  const auto deviation = [&](double at, int c) {
    double least = deviation_at(own, at, c);
    for (const auto& [tones, share] : pairs) {
      const double alone = std::clamp((at - tones.back().brightness) / 0.05, 0.0, 1.0);
      least = std::min(least, (share + alone * (1 - share)) * deviation_at(tones, at, c));
    }
    return least;
  };
  const auto mirrored = [](int64_t at, int64_t size) { return at < 0 ? -at : at < size ? at : 2 * size - 2 - at; };
  const auto wave = [](int64_t a, int64_t x) {
    return std::cos(M_PI * double(2 * x + 1) * double(a) / 16) * std::sqrt((a ? 2.0 : 1.0) / 8);
  };
  std::vector<double> change[2] = {std::vector<double>(w * h), std::vector<double>(w * h)};
  for (int64_t y = -4; y < h; y += 4)
    for (int64_t x = -4; x < w; x += 4) {
      const auto place = [&](int64_t k) { return mirrored(y + k / 8, h) * w + mirrored(x + k % 8, w); };
      double mean = 0;
      for (int64_t k = 0; k < 64; ++k) mean += brightness[place(k)] / 64;
      for (int c = 0; c < 2; ++c) {
        const double least = 4 * std::pow(deviation(mean, c), 2);
        for (int64_t a = 1; a < 64; ++a) {
          double size = 0;
          for (int64_t k = 0; k < 64; ++k) size += colours[c][place(k)] * wave(a / 8, k / 8) * wave(a % 8, k % 8);
          const double lost = size * size > least ? least / size : size;
          for (int64_t k = 0; k < 64; ++k)
            if (y + k / 8 >= 0 && y + k / 8 < h && x + k % 8 >= 0 && x + k % 8 < w)
              change[c][place(k)] -= lost * wave(a / 8, k / 8) * wave(a % 8, k % 8) / 4;
        }
      }
    }
  for (int64_t i = 0; i < w * h; ++i) {
    const double a = change[0][i] / std::sqrt(2), b = change[1][i] / std::sqrt(6);
    out[3 * i] += a - b, out[3 * i + 1] += 2 * b, out[3 * i + 2] += -a - b;
  }
  return out;
}

void test_against_plain_loops() {
  // Groups of 256 rows, and what is left over of them; stripes; widths that are no multiple of anything.
  for (const auto& [width, height] : {std::pair{1, 1},
                                      {7, 900},
                                      {63, 65},
                                      {64, 64},
                                      {67, 81},
                                      {8, 512},
                                      {520, 9},
                                      {40, 256},
                                      {33, 287},
                                      {33, 289},
                                      {33, 520}})
    for (const double noise : {0.0, 0.01})
      for (const std::vector<float>& stops : {std::vector<float>{}, {1}, {0, 2, 4}, {0, 0.5, 0.5, 5}}) {
        const Picture p = scene(width, height, noise);
        const Exposures seen = exposures_of(scene(width, height, 0), stops, 2 * noise + 0.001);
        const std::vector<float> out = cleaned(p, 1, seen);
        const std::vector<double> expected = plain(p, seen);
        double most = 0;
        for (size_t i = 0; i < out.size(); ++i)
          most = std::max(most, std::abs(mu_law(out[i]) - std::clamp(expected[i], 0.0, 1.0)));
        CHECK(most < kTolerance);
        CHECK(out == cleaned(p, 3, seen));
      }
}

/// The deviation of b from a in the colours' difference red - blue, and in brightness.
std::pair<double, double> deviations(const std::vector<float>& a, const std::vector<float>& b) {
  double colour = 0, bright = 0;
  for (size_t i = 0; i < a.size(); i += 3) {
    double d[3];
    for (int c = 0; c < 3; ++c) d[c] = mu_law(b[i + c]) - mu_law(a[i + c]);
    colour += std::pow(d[0] - d[2], 2), bright += std::pow((d[0] + d[1] + d[2]) / 3, 2);
  }
  return {std::sqrt(colour / double(a.size() / 3)), std::sqrt(bright / double(a.size() / 3))};
}

void test_noise_goes_and_the_rest_stays() {
  const Picture clean = scene(256, 192, 0);
  Picture noisy = clean;
  const std::vector<float> grain = random_values(256 * 192 * 3, 0.01f, 0);
  for (size_t i = 0; i < grain.size(); ++i) noisy.values[i] = float(light_of(mu_law(clean.values[i]) + grain[i]));
  const double before = deviations(clean.values, noisy.values).first;
  const std::vector<float> out = cleaned(noisy, 2);
  CHECK(deviations(clean.values, out).first < 0.5 * before);
  CHECK(deviations(noisy.values, out).second < 2e-5);  // brightness stays, where nothing is cut at black
  // The edge of colour, ten times the noise, stays.
  double step = 0;
  for (int64_t y = 0; y < 192; ++y) {
    const auto red = [&](int64_t x) { return mu_law(out[(y * 256 + x) * 3]) - mu_law(out[(y * 256 + x) * 3 + 2]); };
    step += (red(129) - red(128)) / 192;
  }
  CHECK(step > 0.085 && step < 0.105);
  // Without noise next to nothing happens, though there is texture.
  CHECK(deviations(clean.values, cleaned(clean, 2)).first < 1e-5);
}

/// Colours as fine as noise that are in all of the exposures are not taken for it.
void test_fine_colours_stay() {
  const Picture clean = scene(256, 192, 0.01);  // its grain is the scene's
  const double without = deviations(clean.values, cleaned(clean, 2)).first;
  const double with = deviations(clean.values, cleaned(clean, 2, exposures_of(clean, {0, 2, 4}, 0.002))).first;
  CHECK(with < 0.1 * without);
}

void test_bad_input() {
  Picture p = scene(96, 96, 0.01);
  const std::vector<float> sound = cleaned(p, 1);
  const size_t broken = (40 * 96 + 50) * 3 + 1;
  p.values[broken] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> out = cleaned(p, 1);
  int64_t numbers = 0;
  for (const float value : out) numbers += std::isfinite(value);
  CHECK(numbers == int64_t(out.size()) - 1);  // it does not spread
  for (size_t i = 0; i < out.size(); ++i) CHECK(i == broken || std::abs(mu_law(out[i]) - mu_law(sound[i])) < 0.05);

  ThreadPool pool(1);
  CHECK(!ColourNoise::create(-1, 4, {}).ok());
  CHECK(!ColourNoise::create((int64_t(1) << 24) + 1, 4, {}).ok());
  CHECK(!ColourNoise::create(0, 0, {}).ok());
  CHECK(!ColourNoise::create(96, 96, {0, 2, 1}).ok());
  CHECK(!ColourNoise::create(96, 96, {0, std::numeric_limits<float>::infinity()}).ok());
  const Picture black{96, 96, std::vector<float>(96 * 96 * 3)};
  CHECK(cleaned(black, 1) == black.values);
  // Of exposures that are no numbers, or show nothing, the picture alone tells.
  p.values[broken] = 0.1f;
  const Exposures nothing = exposures_of(black, {0, 2}, 0);
  CHECK(cleaned(p, 1, nothing) == cleaned(p, 1));
  const Exposures no_numbers{{0, 2}, std::vector(2, std::vector<float>(96 * 96 * 6, NAN))};
  CHECK(cleaned(p, 1, no_numbers) == cleaned(p, 1));

  smhdr::Result<ColourNoise> created = ColourNoise::create(96, 96, {0, 2});
  ColourNoise& noise = created.value();
  CHECK(noise.tops().size() == 12);
  CHECK(!noise.measure(12, {nothing.values[0].data(), nothing.values[1].data()}, pool).ok());
  CHECK(!noise.measure(-1, {nothing.values[0].data(), nothing.values[1].data()}, pool).ok());
  CHECK(!noise.measure(0, {nothing.values[0].data()}, pool).ok());
  CHECK(ColourNoise::create(96, 96, {0}).value().tops().empty());
  // Of five megapixels every other square of every other row.
  const std::vector<int64_t> tops = ColourNoise::create(2560, 2048, {0, 2}).value().tops();
  CHECK(tops.size() == 128 && tops[1] == 16);
  const std::atomic<bool> stop = true;
  smhdr::Progress progress;
  progress.cancelled = &stop;
  const smhdr::Status status = noise.take_away(p.values.data(), pool, &progress);
  CHECK(!status.ok() && status.error().code == smhdr::ErrorCode::cancelled);
}

}  // namespace

int main() {
  test_against_plain_loops();
  test_noise_goes_and_the_rest_stays();
  test_fine_colours_stay();
  test_bad_input();
  return smhdr::test::finish();
}
