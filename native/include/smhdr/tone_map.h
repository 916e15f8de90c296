// The loops over all pixels of tone mapping; src/output/tone-map.ts makes the curve and the filter, and says what they
// are.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace smhdr {

/// Luminance outside of this takes no part in the logarithms.
constexpr double kDarkest = 0x1p-30, kBrightest = 0x1p30;

/// Adds the log2 luminance of whole rows of interleaved RGB, from row y0 on, to the sums of the factor x factor squares
/// that they lie in, and counts the pixels that have any. `across`: squares in a row of them.
void sum_log_luminance(const float* rgb, int64_t width, int64_t y0, int64_t rows, const std::array<double, 3>& weights,
                       int64_t factor, int64_t across, double* sums, uint32_t* counts);

struct ToneMap {
  std::array<double, 3> luminance{};  // weights of RGB
  std::array<double, 9> to_srgb{};    // primaries, row by row
  int64_t width = 0, height = 0, factor = 1;
  /// The guided filter at 1 / factor of the size: small_width x small_height.
  int64_t small_width = 0, small_height = 0;
  std::vector<float> slope, offset;
  /// log2 display luminance at log2 luminance first + k / steps, one entry beyond the last step.
  std::vector<double> curve;
  double first = 0, steps = 1;
  double detail = 1, saturation = 1;
  /// Codes within 0 and 1 of the linear light (k / n)^2; n + 2 of them.
  std::vector<double> encode;
};

/// sRGB codes of whole rows from row y0 on, over the whole range of the type.
void tone_map_rows(const ToneMap& map, const float* rgb, int64_t y0, int64_t rows, uint8_t* out);
void tone_map_rows(const ToneMap& map, const float* rgb, int64_t y0, int64_t rows, uint16_t* out);

}  // namespace smhdr
