#include "reconstruct/noise_tones.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace smhdr {
namespace {

constexpr double kSmoothest = 0.3;                      // share of the squares that show noise alone
constexpr int64_t kLeastSquares = 64, kMostTones = 24;  // squares a brightness is judged by, and how many of those

}  // namespace

NoiseTones::NoiseTones(std::vector<Tone> squares) {
  squares.erase(std::remove_if(squares.begin(), squares.end(), [](const Tone& s) { return !s.finite(); }),
                squares.end());
  const auto count = int64_t(squares.size()), tones = std::min(kMostTones, count / kLeastSquares);
  std::sort(squares.begin(), squares.end(), [](const Tone& a, const Tone& b) {
    return std::tie(a.brightness, a.noise[0], a.noise[1]) < std::tie(b.brightness, b.noise[0], b.noise[1]);
  });
  for (int64_t tone = 0; tone < tones; ++tone) {
    const int64_t begin = count * tone / tones, end = count * (tone + 1) / tones;
    Tone typical{};
    double sum = 0;
    for (int64_t i = begin; i < end; ++i) sum += squares[i].brightness;
    typical.brightness = float(sum / double(end - begin));
    for (int c = 0; c < 2; ++c) {
      std::vector<float> seen;
      for (int64_t i = begin; i < end; ++i) seen.push_back(squares[i].noise[c]);
      const auto at = seen.begin() + int64_t(kSmoothest * double(seen.size()));
      std::nth_element(seen.begin(), at, seen.end());
      typical.noise[c] = *at;
    }
    tones_.push_back(typical);
  }
}

Tone NoiseTones::at(float brightness) const {
  const auto above = std::lower_bound(tones_.begin(), tones_.end(), brightness,
                                      [](const Tone& tone, float value) { return tone.brightness < value; });
  if (above == tones_.begin() || above == tones_.end()) {
    const Tone& nearest = above == tones_.end() ? above[-1] : *above;
    return {brightness, {nearest.noise[0], nearest.noise[1]}};
  }
  const Tone& below = above[-1];
  const float along = (brightness - below.brightness) / (above->brightness - below.brightness);
  Tone out{brightness, {}};
  for (int c = 0; c < 2; ++c) out.noise[c] = below.noise[c] + along * (above->noise[c] - below.noise[c]);
  return out;
}

}  // namespace smhdr
