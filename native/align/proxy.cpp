#include "smhdr/proxy.h"

#include <algorithm>
#include <cmath>

namespace smhdr {
namespace {

/// Blocks' rows are summed in double and added as float, as src/bracket/proxy.ts does: both give the same bits.
template <typename Code>
void add(const Code* code, const float* table, int64_t width, int64_t y0, int64_t rows, int64_t scale, float* sums) {
  const int64_t across = (width + scale - 1) / scale;
  for (int64_t y = y0; y < y0 + rows; ++y) {
    float* to = sums + y / scale * across * 3;
    for (int64_t left = width; left > 0; left -= scale, to += 3) {
      double red = 0, green = 0, blue = 0;
      for (int64_t k = std::min(scale, left); k > 0; --k, code += 3)
        red += table[code[0]], green += table[code[1]], blue += table[code[2]];
      to[0] = float(to[0] + red), to[1] = float(to[1] + green), to[2] = float(to[2] + blue);
    }
  }
}

}  // namespace

void add_to_proxy(const uint8_t* codes, std::span<const float> table, int64_t width, int64_t y0, int64_t rows,
                  int64_t scale, float* sums) {
  add(codes, table.data(), width, y0, rows, scale, sums);
}
void add_to_proxy(const uint16_t* codes, std::span<const float> table, int64_t width, int64_t y0, int64_t rows,
                  int64_t scale, float* sums) {
  add(codes, table.data(), width, y0, rows, scale, sums);
}

void count_levels(std::span<const float> rgb, int64_t bins, uint32_t* counts) {
  constexpr size_t kBlock = 3 * 512;
  int32_t at[kBlock];
  for (size_t begin = 0; begin < rgb.size(); begin += kBlock) {
    const size_t n = std::min(kBlock, rgb.size() - begin);
    for (size_t i = 0; i < n; ++i) {
      const float value = rgb[begin + i], light = value > 0 ? value < 1 ? value : 1.0f : 0.0f;
      at[i] = static_cast<int32_t>(std::sqrt(light) * static_cast<float>(bins)) + 1;
    }
    for (size_t i = 0; i + 2 < n; i += 3)
      ++counts[at[i]], ++counts[bins + 2 + at[i + 1]], ++counts[2 * (bins + 2) + at[i + 2]];
  }
}

}  // namespace smhdr
