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
  float gain = 1;
  float operator()(const void* data, int64_t at) const {
    return at_most(at_least(static_cast<const float*>(data)[at] * gain, 0.0f), 1.0f);  // NaN becomes 0
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

/// Calls body(decode), decode(data, at) being the linear light of the sample at an index; `gain` is on values that are
/// linear already.
template <typename Body>
SMHDR_INLINE void with_decode(PixelDepth depth, const float* table, int64_t table_size, const Body& body,
                              float gain = 1) {
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
        body(FromLinear{gain});
  }
}

constexpr int kTaps = 4;

/// Where the pixels of an image row lie in a moved exposure: the pixel above and left of each, and how far beyond it.
template <int Width>
struct Places {
  alignas(64) int32_t left[Width], top[Width];
  alignas(64) float across[Width], along[Width];
  /// What the four pixels around count in either direction.
  alignas(64) float columns[kTaps][Width + kLanes], rows[kTaps][Width + kLanes];

  void weigh() {
    cubic_weights(across, columns);
    cubic_weights(along, rows);
  }

 private:
  /// Catmull and Rom's cubic: what the four pixels around a place count, `f` beyond the second of them.
  SMHDR_MEMBER_INLINE static void cubic_weights(const float* f, float (&weight)[kTaps][Width + kLanes]) {
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

/// Columns that follow each other in the exposure too, in one row of it, or that are all not seen.
struct Run {
  int begin, end;
  bool seen;
};

/// The run that begins at a column.
template <int Width>
SMHDR_INLINE Run run_from(const Places<Width>& places, const float* seen, int begin) {
  const int32_t left = places.left[begin] - begin, top = places.top[begin];
  const bool in = seen[begin] != 0;
  int end = begin + 1;
  for (; end < Width; ++end)
    if ((seen[end] != 0) != in || (in && (places.left[end] - end != left || places.top[end] != top))) break;
  return {begin, end, in};
}

/// Cubic in the roots of light, where edges are far less steep than in light, within what the four nearest pixels say:
/// no rings. `tap(j, i)` is a vector of the roots in row j and column i of the 4x4 pixels around each place.
template <int Width, typename Tap>
SMHDR_INLINE Vec root_between(const Places<Width>& places, int x, const Tap& tap) {
  Vec root = splat(0);
  for (int j = 0; j < kTaps; ++j) {
    Vec sum = load(places.columns[0] + x) * tap(j, 0);
    for (int i = 1; i < kTaps; ++i) sum += load(places.columns[i] + x) * tap(j, i);
    root += load(places.rows[j] + x) * sum;
  }
  const Vec low = min(min(tap(1, 1), tap(1, 2)), min(tap(2, 1), tap(2, 2)));
  const Vec high = max(max(tap(1, 1), tap(1, 2)), max(tap(2, 1), tap(2, 2)));
  return min(max(root, low), high);
}

/// What a moved exposure shows at places: roots of light, RGB. Its rows are decoded once for all rows of the image that
/// lie on them, as long as the exposure is turned little.
template <int Width>
class MovedRoots {
 public:
  void begin() {
    for (int64_t& row : row_) row = kNone;
    first_ = 0;
  }

  /// `out`: three planes with room for a vector after Width values. The places are weighed; 0 where nothing is seen.
  template <typename Decode>
  void at(int64_t width, const ExposureRows& rows, const Places<Width>& places, const float* seen, float* const* out,
          Decode decode) {
    int32_t left = INT32_MAX, right = INT32_MIN, top = INT32_MAX, bottom = INT32_MIN;
    for (int x = 0; x < Width; ++x) {
      if (seen[x] == 0) continue;
      left = places.left[x] < left ? places.left[x] : left, right = places.left[x] > right ? places.left[x] : right;
      top = places.top[x] < top ? places.top[x] : top, bottom = places.top[x] > bottom ? places.top[x] : bottom;
    }
    const bool any = right >= left;
    // Not too often another one: what is decoded begins there.
    const int64_t first = any ? (left - 1 - kSlack * (left < 1)) / kSlack * kSlack : 0;
    const bool small = any && right + kTaps - 1 - first <= kSpan && bottom - top + kTaps <= kRows;
    if (small) {
      if (first != first_) begin();
      first_ = first;
      for (int64_t y = top - 1; y <= bottom + 2; ++y) decode_row(width, rows, y, decode);
    }
    for (int x = 0; x < Width;) {
      const Run run = run_from(places, seen, x);
      if (!run.seen)
        for (int c = 0; c < 3; ++c)
          for (int k = run.begin; k < run.end; ++k) out[c][k] = 0;
      else if (small)
        from_rows(places, run, out);
      else
        from_pixels(width, rows, places, run, out, decode);
      x = run.end;
    }
  }

 private:
  static constexpr int64_t kNone = INT64_MIN;
  static constexpr int kRows = 16, kSlack = 32, kSpan = Width + 3 * kSlack;

  /// Row y of the exposure, or the border's next to it.
  template <typename Decode>
  void decode_row(int64_t width, const ExposureRows& rows, int64_t y, Decode decode) {
    int64_t& there = row_[(y + kRows) % kRows];
    if (there == y) return;
    there = y;
    float(&plane)[3][kSpan + kLanes] = root_[(y + kRows) % kRows];
    const int64_t line = (clamp(y, rows.begin, rows.end - 1) - rows.begin) * width;
    const int low = static_cast<int>(clamp(-first_, 0, kSpan)),
              high = static_cast<int>(clamp(width - first_, low, kSpan));
    for (int c = 0; c < 3; ++c) {
      const int64_t from = (line + first_) * 3 + c;
      for (int x = low; x < high; ++x) plane[c][x] = decode(rows.data, from + 3 * int64_t{x});
      for (int x = 0; x < kSpan; ++x) plane[c][x] = __builtin_sqrtf(plane[c][x]);
      for (int x = 0; x < low; ++x) plane[c][x] = plane[c][low];
      for (int x = high; x < kSpan; ++x) plane[c][x] = plane[c][high > low ? high - 1 : low];
    }
  }

  /// What is written beyond the run the next one overwrites.
  void from_rows(const Places<Width>& places, const Run& run, float* const* out) {
    const int64_t offset = places.left[run.begin] - 1 - first_, top = places.top[run.begin] - 1;
    for (int c = 0; c < 3; ++c) {
      const float* row[kTaps];
      for (int j = 0; j < kTaps; ++j) row[j] = root_[(top + j + kRows) % kRows][c] + offset;
      for (int x = run.begin; x < run.end; x += kLanes) {
        const int k = x - run.begin;
        store(out[c] + x, root_between(places, x, [&](int j, int i) { return load(row[j] + k + i); }));
      }
    }
  }

  template <typename Decode>
  void from_pixels(int64_t width, const ExposureRows& rows, const Places<Width>& places, const Run& run,
                   float* const* out, Decode decode) {
    for (int x = run.begin; x < run.end; ++x) {
      float tap[3][kTaps][kTaps];
      for (int j = 0; j < kTaps; ++j) {
        const int64_t line = (clamp(places.top[x] - 1 + j, rows.begin, rows.end - 1) - rows.begin) * width;
        for (int i = 0; i < kTaps; ++i)
          for (int c = 0; c < 3; ++c)
            tap[c][j][i] =
                __builtin_sqrtf(decode(rows.data, (line + clamp(places.left[x] - 1 + i, 0, width - 1)) * 3 + c));
      }
      for (int c = 0; c < 3; ++c)
        out[c][x] = root_between(places, x, [&](int j, int i) { return splat(tap[c][j][i]); })[0];
    }
  }

  int64_t first_, row_[kRows];
  alignas(64) float root_[kRows][3][kSpan + kLanes];
};

}  // namespace
}  // namespace smhdr::cpu::SMHDR_ISA
