// Scanlines of Radiance pictures: 32-bit RGBE, run-length coded.
#pragma once

#include <cstdint>

namespace smhdr {

/// The most bytes that a line of `width` pixels takes.
constexpr int64_t longest_rgbe_line(int64_t width) { return 4 + 4 * (width + (width + 127) / 128); }

/// Codes `lines` lines of interleaved linear RGB into `out`, which holds longest_rgbe_line(width) bytes for each;
/// returns the bytes written. Run-length coded where the format allows it (8 to 32767 pixels a line). Mantissas are
/// rounded to nearest for readers that take m 2^(e - 136). Negative values and NaN become 0, what is beyond the largest
/// RGBE the largest. `planes`: 4 width bytes to work in.
int64_t encode_rgbe_lines(const float* rgb, int64_t width, int64_t lines, uint8_t* planes, uint8_t* out);

}  // namespace smhdr
