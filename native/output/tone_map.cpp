#include "smhdr/tone_map.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/coarse_place.h"

namespace smhdr {
namespace {

constexpr int kSteps = 4096;

/// log2 of 1 + k / kSteps, and 2 to the k / kSteps.
struct Tables {
  double mantissa[kSteps + 1], fraction[kSteps + 1];
  Tables() {
    for (int k = 0; k <= kSteps; ++k)
      mantissa[k] = std::log2(1 + double(k) / kSteps), fraction[k] = std::exp2(double(k) / kSteps);
  }
};
const Tables kTables;

/// Of a positive number that float32 holds as a normal one.
double fast_log2(double value) {
  const uint32_t bits = std::bit_cast<uint32_t>(float(value)), step = bits >> 11 & (kSteps - 1);
  const double low = kTables.mantissa[step];
  return int(bits >> 23) - 127 + low + (bits & 2047) / 2048.0 * (kTables.mantissa[step + 1] - low);
}

double fast_exp2(double exponent) {
  // What is no number counts as the least.
  const double within = exponent > -126 ? std::min(exponent, 127.0) : -126.0, shifted = within + 126;
  const int whole = int(shifted);
  const double at = (shifted - whole) * kSteps;
  const int step = int(at);
  const double low = kTables.fraction[step];
  const double power = std::bit_cast<double>(uint64_t(whole - 126 + 1023) << 52);
  return power * (low + (at - step) * (kTables.fraction[step + 1] - low));
}

double fast_exp(double exponent) { return fast_exp2(exponent * 1.4426950408889634); }

double luminance(const std::array<double, 3>& weights, const float* rgb) {
  return weights[0] * rgb[0] + weights[1] * rgb[1] + weights[2] * rgb[2];
}

/// Leaves what is below 0.75 alone and bends the rest to stay below 1.
double shoulder(double value) { return value <= 0.75 ? value : 1 - 0.25 * fast_exp((0.75 - value) * 4); }

/// How much of the chroma to keep: it fades near white, and no channel may leave [0, 1].
double kept_chroma(double light, double most, double least, double saturation) {
  const double near_white = std::max(0.0, (light - 0.6) / 0.4);
  double keep = saturation * (1 - 0.5 * near_white * near_white);
  if (most > 0) {
    const double room = (1 / light - 1) / most;
    if (!(room > 0)) return 0;
    if (!(keep < 0.7 * room)) keep = 0.7 * room + 0.3 * room * (1 - fast_exp((0.7 * room - keep) / (0.3 * room)));
  }
  return keep * least < -1 ? -1 / least : keep;
}

double encoded(const std::vector<double>& table, double light) {
  if (!(light > 0)) return 0;
  if (light >= 1) return 1;
  const double at = std::sqrt(light) * double(table.size() - 2);
  const auto step = size_t(at);
  return table[step] + (at - double(step)) * (table[step + 1] - table[step]);
}

template <typename Code>
void map_rows(const ToneMap& m, const float* rgb, int64_t y0, int64_t rows, Code* out) {
  constexpr double codes = Code(-1);
  std::vector<CoarsePlace> columns(m.width);
  for (int64_t x = 0; x < m.width; ++x) columns[x] = coarse_place(x, m.factor, m.small_width);
  std::vector<float> slopes(m.small_width), offsets(m.small_width);
  const auto last = int64_t(m.curve.size()) - 2;
  for (int64_t y = y0; y < y0 + rows; ++y) {
    const CoarsePlace row = coarse_place(y, m.factor, m.small_height);
    const auto between = [&](const std::vector<float>& plane, std::vector<float>& line) {
      const float *a = plane.data() + row.first * m.small_width, *b = plane.data() + row.second * m.small_width;
      for (int64_t x = 0; x < m.small_width; ++x) line[x] = float(a[x] * (1 - row.along) + b[x] * row.along);
    };
    between(m.slope, slopes), between(m.offset, offsets);
    for (int64_t x = 0; x < m.width; ++x, rgb += 3, out += 3) {
      const double light = luminance(m.luminance, rgb);
      if (!(light > kDarkest)) {  // NaN too
        out[0] = out[1] = out[2] = 0;
        continue;
      }
      const CoarsePlace& column = columns[x];
      const auto along = [&](const std::vector<float>& line) {
        return float(line[column.first] * (1 - column.along) + line[column.second] * column.along);
      };
      const double log = fast_log2(std::min(light, kBrightest)), local = along(slopes) * log + along(offsets);
      const double at = (local - m.first) * m.steps;
      const int64_t step = at > 0 ? at < double(last) ? int64_t(at) : last : 0;
      const double base = m.curve[step] + (at - double(step)) * (m.curve[step + 1] - m.curve[step]);
      const double target = shoulder(fast_exp2(base + m.detail * (log - local)));
      // Red, green and blue over luminance, in sRGB's primaries; then towards grey by `keep`.
      const double inverse = 1 / light, r = rgb[0] * inverse, g = rgb[1] * inverse, b = rgb[2] * inverse;
      double chroma[3];
      for (int c = 0; c < 3; ++c)
        chroma[c] = m.to_srgb[3 * c] * r + m.to_srgb[3 * c + 1] * g + m.to_srgb[3 * c + 2] * b - 1;
      const auto [least, most] = std::minmax({chroma[0], chroma[1], chroma[2]});
      const double keep = kept_chroma(target, most, least, m.saturation);
      for (int c = 0; c < 3; ++c) out[c] = Code(encoded(m.encode, target * (1 + keep * chroma[c])) * codes + 0.5);
    }
  }
}

}  // namespace

void sum_log_luminance(const float* rgb, int64_t width, int64_t y0, int64_t rows, const std::array<double, 3>& weights,
                       int64_t factor, int64_t across, double* sums, uint32_t* counts) {
  for (int64_t y = y0; y < y0 + rows; ++y)
    for (int64_t cell = 0, x = 0; cell < across; ++cell) {
      const int64_t at = y / factor * across + cell;
      for (const int64_t end = std::min(width, x + factor); x < end; ++x, rgb += 3) {
        const double light = luminance(weights, rgb);
        if (!(light > kDarkest)) continue;
        sums[at] += fast_log2(std::min(light, kBrightest));
        ++counts[at];
      }
    }
}

void tone_map_rows(const ToneMap& map, const float* rgb, int64_t y0, int64_t rows, uint8_t* out) {
  map_rows(map, rgb, y0, rows, out);
}
void tone_map_rows(const ToneMap& map, const float* rgb, int64_t y0, int64_t rows, uint16_t* out) {
  map_rows(map, rgb, y0, rows, out);
}

}  // namespace smhdr
