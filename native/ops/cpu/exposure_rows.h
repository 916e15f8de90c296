// Reading the rows of an exposure: stored samples as linear light, and what a moved exposure shows between its pixels.
#pragma once

#include <cstdint>

#include "ops/cpu/vector.h"
#include "smhdr/merge.h"

namespace smhdr::cpu::SMHDR_ISA {
namespace {

inline float at_most(float x, float limit) { return x < limit ? x : limit; }
inline float at_least(float x, float limit) { return x > limit ? x : limit; }
inline int64_t clamp(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

/// Linear light of stored samples.
struct FromCode8 {
  const float* table;
  float operator()(const void* data, int64_t at) const { return table[static_cast<const uint8_t*>(data)[at]]; }
};
struct FromCode16 {
  const float* table;
  float operator()(const void* data, int64_t at) const { return table[static_cast<const uint16_t*>(data)[at]]; }
};
struct FromLinear {
  float operator()(const void* data, int64_t at) const {
    return at_most(at_least(static_cast<const float*>(data)[at], 0.0f), 1.0f);  // NaN becomes 0
  }
};
struct FromCurve {
  const float* table;
  int64_t size;
  float operator()(const void* data, int64_t at) const {
    const float position = FromLinear{}(data, at) * (size - 1);
    const int64_t code = static_cast<int64_t>(position), below = code < size - 2 ? code : size - 2;
    return table[below] + (position - below) * (table[below + 1] - table[below]);
  }
};

/// Calls body(decode), decode(data, at) being the linear light of the sample at an index.
template <typename Body>
SMHDR_INLINE void with_decode(PixelDepth depth, const float* table, int64_t table_size, const Body& body) {
  switch (depth) {
    case PixelDepth::uint8:
      body(FromCode8{table});
      break;
    case PixelDepth::uint16:
      body(FromCode16{table});
      break;
    case PixelDepth::float32:
      if (table)
        body(FromCurve{table, table_size});
      else
        body(FromLinear{});
  }
}

constexpr int kTaps = 4;

/// Where the pixels of an image row lie in a moved exposure: the pixel above and left of each, and how far beyond it.
template <int Width>
struct Places {
  alignas(64) int32_t left[Width], top[Width];
  alignas(64) float across[Width], along[Width];
  /// What the four pixels around count in either direction.
  alignas(64) float columns[kTaps][Width], rows[kTaps][Width];

  void weigh() {
    cubic_weights(across, columns);
    cubic_weights(along, rows);
  }

 private:
  /// Catmull and Rom's cubic: what the four pixels around a place count, `f` beyond the second of them.
  SMHDR_MEMBER_INLINE static void cubic_weights(const float* f, float (&weight)[kTaps][Width]) {
    for (int x = 0; x < Width; ++x) {
      const float t = f[x];
      weight[0][x] = t * (-0.5f + t * (1.0f - 0.5f * t));
      weight[1][x] = 1.0f + t * t * (1.5f * t - 2.5f);
      weight[2][x] = t * (0.5f + t * (2.0f - 1.5f * t));
      weight[3][x] = t * t * (0.5f * t - 0.5f);
    }
  }
};

/// What an exposure shows beyond its border: nothing, or the border again.
enum class Beyond { unseen, border };

/// Of the image's pixels `columns` in row y; `seen`: 1 or 0.
template <Beyond beyond, int Width>
void find_places(int64_t width, int64_t height, const double* h, const int32_t* columns, int64_t y,
                 Places<Width>& places, float* seen) {
  const double line = static_cast<double>(y), last_x = static_cast<double>(width - 1);
  const double last_y = static_cast<double>(height - 1);
  const double x_row = h[1] * line + h[2], y_row = h[4] * line + h[5], w_row = h[7] * line + h[8];
  for (int column = 0; column < Width; ++column) {
    const double x = columns[column];
    const double w = h[6] * x + w_row, reciprocal = 1.0 / w;
    const double sx = (h[0] * x + x_row) * reciprocal, sy = (h[3] * x + y_row) * reciprocal;
    double px, py;
    if constexpr (beyond == Beyond::unseen) {
      const bool in = (w > 0) & (sx >= 0) & (sy >= 0) & (sx <= last_x) & (sy <= last_y);
      px = in ? sx : 0, py = in ? sy : 0;
      seen[column] = in ? 1.0f : 0.0f;
    } else {  // what is no number lies at 0
      px = sx > 0 ? sx : 0, py = sy > 0 ? sy : 0;
      px = px < last_x ? px : last_x, py = py < last_y ? py : last_y;
      seen[column] = 1.0f;
    }
    const int32_t from = static_cast<int32_t>(px), above = static_cast<int32_t>(py);
    places.left[column] = from;
    places.top[column] = above;
    places.across[column] = static_cast<float>(px - from);
    places.along[column] = static_cast<float>(py - above);
  }
}

/// Roots of the light in the 4x4 pixels around each place; 0 where nothing is seen.
template <int Width>
struct Taps {
  alignas(64) float cell[3][kTaps][kTaps][Width];
};

/// Along a run of columns that follow each other in the exposure too, every pixel is decoded once for each of the rows
/// that need it.
template <int Width, typename Decode>
void fetch(int64_t width, const ExposureRows& rows, const Places<Width>& places, const float* seen, Taps<Width>& taps,
           Decode decode) {
  alignas(64) float root[3][Width + kTaps];
  for (int begin = 0, end = 0; begin < Width; begin = end) {
    const int32_t left = places.left[begin], top = places.top[begin];
    const bool in = seen[begin] != 0;
    for (end = begin + 1; end < Width; ++end)
      if ((seen[end] != 0) != in || (in && (places.left[end] != left + end - begin || places.top[end] != top))) break;
    const int count = end - begin, fetched = count + kTaps - 1;
    for (int j = 0; j < kTaps; ++j) {
      if (in) {
        const int64_t line = (clamp(top - 1 + j, rows.begin, rows.end - 1) - rows.begin) * width;
        for (int k = 0; k < fetched; ++k) {
          const int64_t at = (line + clamp(left - 1 + k, 0, width - 1)) * 3;
          for (int c = 0; c < 3; ++c) root[c][k] = decode(rows.data, at + c);
        }
      }
      for (int c = 0; c < 3; ++c) {
        for (int k = 0; k < fetched; ++k) root[c][k] = in ? __builtin_sqrtf(root[c][k]) : 0.0f;
        for (int i = 0; i < kTaps; ++i)
          for (int k = 0; k < count; ++k) taps.cell[c][j][i][begin + k] = root[c][k + i];
      }
    }
  }
}

/// Roots of light at the places: cubic in them, where edges are far less steep than in light, within what the four
/// nearest pixels say: no rings. The places are weighed.
template <int Width>
SMHDR_INLINE void roots_between(const Places<Width>& places, const float (&tap)[kTaps][kTaps][Width],
                                float* __restrict out) {
  for (int x = 0; x < Width; ++x) {
    float root = 0;
    for (int j = 0; j < kTaps; ++j) {
      float sum = places.columns[0][x] * tap[j][0][x];
      for (int i = 1; i < kTaps; ++i) sum += places.columns[i][x] * tap[j][i][x];
      root += places.rows[j][x] * sum;
    }
    const float low = at_most(at_most(tap[1][1][x], tap[1][2][x]), at_most(tap[2][1][x], tap[2][2][x]));
    const float high = at_least(at_least(tap[1][1][x], tap[1][2][x]), at_least(tap[2][1][x], tap[2][2][x]));
    out[x] = at_most(at_least(root, low), high);
  }
}

}  // namespace
}  // namespace smhdr::cpu::SMHDR_ISA
