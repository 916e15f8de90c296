// Small linear pictures of photographs: means of square blocks.
#pragma once

#include <cstdint>
#include <span>

namespace smhdr {

/// Adds rows [y0, y0 + rows) of an image of `width` RGB pixels, interleaved codes, to `sums`: interleaved sums of the
/// linear light of scale x scale blocks, ceil(width / scale) of them a row, row 0 first. `table`: the linear light of
/// every code.
void add_to_proxy(const uint8_t* codes, std::span<const float> table, int64_t width, int64_t y0, int64_t rows,
                  int64_t scale, float* sums);
void add_to_proxy(const uint16_t* codes, std::span<const float> table, int64_t width, int64_t y0, int64_t rows,
                  int64_t scale, float* sums);

/// Adds interleaved linear RGB values to `counts` of even bins of the light's square root, in [0, 1]; NaN counts as 0.
/// Each channel has bins + 2 counts, one channel after the other; bin b is at b + 1.
void count_levels(std::span<const float> rgb, int64_t bins, uint32_t* counts);

}  // namespace smhdr
