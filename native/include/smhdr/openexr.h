// Blocks of scanlines of OpenEXR files, before deflate.
#pragma once

#include <cstdint>

namespace smhdr {

/// Packs lines of interleaved linear RGB as a block of channels B, G, R ("OpenEXR File Layout", openexr.com): of each
/// line all blue values, all green, all red, little endian. Halves are rounded to nearest, ties to even; what is beyond
/// the largest finite value becomes that, NaN 0. `out`: 3 width lines samples of 2 bytes, or of 4.
void pack_openexr_lines(const float* rgb, int64_t width, int64_t lines, bool half, uint8_t* out);

/// What OpenEXR does before deflate: even bytes, then odd ones; then differences to the one before, 128 added.
void predict_openexr(const uint8_t* bytes, int64_t count, uint8_t* out);

}  // namespace smhdr
