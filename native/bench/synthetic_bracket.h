// Three photographs two stops apart, the first and the last moved or not: what the merge without a network is timed on.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "smhdr/merge.h"

namespace smhdr::bench {

/// A horizontal ramp with noise, stored with gamma 2.2; every exposure is two stops longer than the one before.
inline std::vector<unsigned char> photograph(int64_t samples, int64_t width, PixelDepth depth, int exposure) {
  const bool small = depth == PixelDepth::uint8;
  std::vector<unsigned char> pixels(samples * (small ? 1 : 2));
  uint32_t state = 1 + exposure;
  for (int64_t at = 0; at < samples; ++at) {
    state = state * 1664525 + 1013904223;
    const float noise = 1 + 1e-11f * float(state);
    const float light = 0.05f * std::exp2(2.0f * exposure) * (0.3f + 1e-4f * float(at / 3 % width)) * noise;
    const float stored = std::pow(std::min(light, 1.0f), 1 / 2.2f);
    if (small) {
      pixels[at] = static_cast<unsigned char>(stored * 255);
    } else {
      const auto code = static_cast<uint16_t>(stored * 65535);
      std::memcpy(&pixels[2 * at], &code, 2);
    }
  }
  return pixels;
}

struct SyntheticBracket {
  MergeOptions options;
  std::vector<std::vector<unsigned char>> pixels;
  std::vector<ExposureRows> rows;  // of pixels
  int64_t samples;                 // of one photograph, and of the result
  int64_t bytes = 0;               // read and written once

  SyntheticBracket(int64_t width, int64_t height, PixelDepth depth, bool aligned) : samples(width * height * 3) {
    options.width = width;
    options.height = height;
    options.depth = depth;
    options.reference = 1;
    const int codes = depth == PixelDepth::uint8 ? 256 : 65536;
    for (int i = 0; i < codes; ++i) options.transfer.push_back(std::pow(float(i) / float(codes - 1), 2.2f));
    for (int i = 0; i < 3; ++i) {
      options.exposures.push_back({2.0 * i, {}});
      if (aligned && i != 1)
        options.exposures.back().alignment = std::array<double, 9>{1, 0.001, 3.3, -0.001, 1, -2.2, 0, 0, 1};
      pixels.push_back(photograph(samples, width, depth, i));
      rows.push_back({pixels.back().data(), 0, height});
      bytes += static_cast<int64_t>(pixels.back().size());
    }
    bytes += samples * static_cast<int64_t>(sizeof(float));
  }
};

}  // namespace smhdr::bench
