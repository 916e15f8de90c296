#include "smhdr/proxy.h"

#include <algorithm>

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

}  // namespace smhdr
