// How much colour noise there is at each brightness.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "smhdr/colour_noise.h"
#include "smhdr/mu_law.h"

namespace smhdr {

/// Mu-law values of a pixel: their mean, and the two differences of colour, orthonormal to it and to each other.
struct Colours {
  static constexpr float kMuFloat = float(kMu), kLogWhite = 8.51739317f;  // ln(1 + mu)
  static constexpr float kRootHalf = 0.707106781f, kRootSixth = 0.408248290f;

  float brightness, red_blue, green;
  explicit Colours(const float* rgb) {
    float v[3];
    for (int c = 0; c < 3; ++c) v[c] = std::log(1 + kMuFloat * std::clamp(rgb[c], 0.0f, 1.0f)) / kLogWhite;
    brightness = (v[0] + v[1] + v[2]) / 3;
    red_blue = (v[0] - v[2]) * kRootHalf;
    green = (2 * v[1] - v[0] - v[2]) * kRootSixth;
  }
};

/// The mean brightness of a square, and a deviation in each difference of colour.
struct Tone {
  float brightness, noise[2];
  bool finite() const { return std::isfinite(brightness + noise[0] + noise[1]); }
};

/// Side of the squares that noise is measured in.
constexpr int64_t kNoiseSquare = ColourNoise::kSquare;

/// The root mean square of the differences of the diagonals of 2x2 pixels: of white noise its deviation, of smooth
/// content nearly 0. `values(y, x)`: the square's colours.
template <typename Values>
Tone noise_of_square(const Values& values) {
  float colours[2][kNoiseSquare][kNoiseSquare];
  double brightness = 0;
  for (int64_t y = 0; y < kNoiseSquare; ++y)
    for (int64_t x = 0; x < kNoiseSquare; ++x) {
      const Colours seen = values(y, x);
      brightness += seen.brightness;
      colours[0][y][x] = seen.red_blue, colours[1][y][x] = seen.green;
    }
  Tone out{float(brightness / (kNoiseSquare * kNoiseSquare)), {}};
  for (int c = 0; c < 2; ++c) {
    const auto& v = colours[c];
    double energy = 0;
    for (int64_t y = 0; y + 1 < kNoiseSquare; ++y)
      for (int64_t x = 0; x + 1 < kNoiseSquare; ++x) {
        const double d = 0.5 * (v[y][x] - v[y][x + 1] - v[y + 1][x] + v[y + 1][x + 1]);
        energy += d * d;
      }
    out.noise[c] = float(std::sqrt(energy / ((kNoiseSquare - 1) * (kNoiseSquare - 1))));
  }
  return out;
}

/// What many squares say: of those of about the same brightness, the noise of the smoother ones.
class NoiseTones {
 public:
  /// Squares that are no number are left out. Empty where too few are left.
  explicit NoiseTones(std::vector<Tone> squares);

  bool known() const { return !tones_.empty(); }
  /// Brightness of the brightest tone. Of known ones only.
  float brightest() const { return tones_.back().brightness; }
  /// The noise at this brightness: between the tones measured, beyond them as at the last. Of known ones only.
  Tone at(float brightness) const;

 private:
  std::vector<Tone> tones_;
};

}  // namespace smhdr
