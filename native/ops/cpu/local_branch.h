// The local branch. A first pass over tiles makes what the whole image must be summed for and the planes of the spatial
// gate; once the gates are known, any rectangle of the result can be had from x (its features are made again: cheaper
// than writing them and reading them back). Rings of rows have padded pixels, so that a vector of channels is one
// aligned load.
#pragma once

#include "ops/cpu/token_kernels.h"

namespace smhdr::cpu::SMHDR_ISA {

constexpr int kSpatialLanes = 4 * kLanes;  // pixels of the spatial gate computed together

/// Floats of a ring of three rows, `width` pixels and two more on either side.
SMHDR_INLINE int64_t ring_size(int channels, int width) { return 3 * padded_pitch(channels) * (width + 4); }

/// For rectangles of up to kTokens columns: two rings, a row of features, both filters.
static int64_t local_scratch(int channels) {
  return 2 * ring_size(channels, kTokens) + padded_pitch(channels) * (kTokens + 2 + 18 + 1);
}

/// [C, 1, 3, 3] -> [9][pitch], turned by 180 degrees for the backward of the convolution.
SMHDR_INLINE void taps_first(const float* weight, int channels, float* taps, bool turned = false) {
  const int64_t pitch = padded_pitch(channels);
  for (int k = 0; k < 9; ++k)
    for (int64_t c = 0; c < pitch; ++c) taps[k * pitch + c] = c < channels ? weight[c * 9 + (turned ? 8 - k : k)] : 0;
}

/// One output row of a depthwise 3x3 (bias may be null); rows[k] points at the zero pixel before column 0. A column of
/// three values serves three outputs. use(x, c, n, value) gets every output, a vector of channels after the other
/// within a block of columns: what is read and written stays in the first cache.
template <typename Use>
SMHDR_INLINE void depthwise_row(const float* const rows[3], const float* taps, const float* bias, int width,
                                int channels, Use use) {
  const int64_t pitch = padded_pitch(channels);
  for (int first = 0, block = width < 2 * kTokens ? width : kTokens; first < width; first += block) {
    const int last = width - first < block ? width : first + block;
    for_channels(
        channels, [&](int c, int n) __attribute__((always_inline)) {
          Vec w[9];
#pragma GCC unroll 9
          for (int k = 0; k < 9; ++k) w[k] = load(taps + k * pitch + c);
          const Vec start = bias ? load_some(bias + c, n) : Vec{};
          const int64_t from = first * pitch + c;
          const float *r0 = rows[0] + from, *r1 = rows[1] + from, *r2 = rows[2] + from;
          // What columns x and x + 1 have of their sums when column x + 2 comes.
          Vec here = start + load(r0) * w[0] + load(r1) * w[3] + load(r2) * w[6], next = start;
          r0 += pitch, r1 += pitch, r2 += pitch;
          here += load(r0) * w[1] + load(r1) * w[4] + load(r2) * w[7];
          next += load(r0) * w[0] + load(r1) * w[3] + load(r2) * w[6];
          for (int x = first; x < last; ++x) {
            r0 += pitch, r1 += pitch, r2 += pitch;
            const Vec a = load(r0), b = load(r1), d = load(r2);
            const Vec done = here + a * w[2] + b * w[5] + d * w[8];
            here = next + a * w[1] + b * w[4] + d * w[7];
            next = start + a * w[0] + b * w[3] + d * w[6];
            use(x, c, n, done);
          }
        });
  }
}

/// Mean and maximum over the channels of `width` pixels, kLanes of them at a time.
SMHDR_INLINE void channel_planes(const float* pixels, int64_t pitch, int width, int channels, float* mean, float* top) {
  for (int x = 0; x < width; x += kLanes) {
    const int count = width - x < kLanes ? width - x : kLanes;
    Vec sums[kLanes], most[kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
      const float* pixel = pixels + (x + (i < count ? i : count - 1)) * pitch;
      sums[i] = Vec{};
      most[i] = splat(pixel[0]);
      for_channels(
          channels, [&](int c, int n) __attribute__((always_inline)) {
            sums[i] += load_some(pixel + c, n);
            most[i] = max(most[i], n == kLanes ? load(pixel + c) : load_part_or(pixel + c, n, most[i]));
          });
    }
    transpose(sums);
    transpose(most);
#pragma GCC unroll 16
    for (int i = 1; i < kLanes; ++i) {
      sums[0] += sums[i];
      most[0] = max(most[0], most[i]);
    }
    store_some(mean + x, sums[0] * (1.0f / channels), count);
    store_some(top + x, most[0], count);
  }
}

/// Columns [x0, x1) of norm(x), row y; zero pixels outside of the image.
SMHDR_INLINE void normal_row(const LocalBranchArgs& args, int b, int y, int x0, int x1, float* to) {
  const int height = args.x.height, width = args.x.width, channels = args.x.channels;
  const int64_t pitch = padded_pitch(channels);
  const bool inside = y >= 0 && y < height;
  const int first = x0 < 0 ? 0 : x0, last = x1 > width ? width : x1;
  for (int x = x0; x < x1; ++x)
    if (!inside || x < first || x >= last)
      for (int64_t c = 0; c < pitch; c += kLanes) store(to + (x - x0) * pitch + c, Vec{});
  if (inside)
    normalise_pixels(args.x.at(b, y, first), args.weights.norm, channels, last - first, to + (first - x0) * pitch,
                     pitch);
}

/// The first pass over rows [y0, y0 + kTileRows) and columns [x0, x0 + kTokens): adds up `sums` [C], fills the planes,
/// and keeps the features where the plan has room for them.
static void local_statistics(const LocalBranchArgs& args, const LocalPlan& plan, int b, int y0, int x0, double* sums,
                             float* scratch) {
  const int height = args.x.height, width = args.x.width, channels = args.x.channels;
  const int count = width - x0 < kTokens ? width - x0 : kTokens;
  const int64_t pitch = padded_pitch(channels), row_size = pitch * (kTokens + 4), frame_width = width + 6,
                frame = (height + 6) * frame_width;
  float *features = scratch + 3 * row_size, *taps = features + pitch * (kTokens + 2), *totals = taps + 9 * pitch;
  const auto ring = [&](int y) { return scratch + (y + 3) % 3 * row_size; };
  taps_first(args.weights.depthwise1_weight, channels, taps);
  for (int64_t c = 0; c < pitch; ++c) totals[c] = 0;
  for (int y = y0 - 1; y <= y0; ++y) normal_row(args, b, y, x0 - 1, x0 + count + 1, ring(y));
  for (int y = y0; y < y0 + kTileRows && y < height; ++y) {
    normal_row(args, b, y + 1, x0 - 1, x0 + count + 1, ring(y + 1));
    const float* const rows[3] = {ring(y - 1), ring(y), ring(y + 1)};
    float* keep = plan.features.data ? plan.features.at(b, y, x0) : nullptr;
    depthwise_row(
        rows, taps, args.weights.depthwise1_bias, count,
        channels, [&](int x, int c, int n, Vec value) __attribute__((always_inline)) {
          store(totals + c, load(totals + c) + value);
          store(features + x * pitch + c, value);
          if (keep) store_some(keep + int64_t{x} * channels + c, value, n);
        });
    float* mean = plan.planes + int64_t{b} * 2 * frame + (y + 3) * frame_width + x0 + 3;
    channel_planes(features, pitch, count, channels, mean, mean + frame);
  }
  for (int c = 0; c < channels; ++c) sums[c] = totals[c];
}

/// The spatial gate of row y: sigmoid of a 7x7 convolution of both planes.
static void local_spatial(const LocalBranchWeights& weights, const LocalPlan& plan, int height, int width, int b,
                          int y) {
  const int64_t frame_width = width + 6, frame = (height + 6) * frame_width;
  const float* planes = plan.planes + int64_t{b} * 2 * frame;
  float* out = plan.spatial + (int64_t{b} * height + y) * width;
  for (int x = 0; x < width; x += kSpatialLanes) {
    Vec totals[4];
    for (int v = 0; v < 4; ++v) totals[v] = splat(weights.spatial_bias[0]);
    for (int i = 0; i < 2; ++i)
      for (int ky = 0; ky < 7; ++ky) {
        const float *row = planes + i * frame + (y + ky) * frame_width + x,
                    *tap = weights.spatial_weight + (i * 7 + ky) * 7;
#pragma GCC unroll 7
        for (int kx = 0; kx < 7; ++kx)
#pragma GCC unroll 4
          for (int v = 0; v < 4; ++v) totals[v] += load(row + kx + v * kLanes) * splat(tap[kx]);
      }
    for (int v = 0; v < 4; ++v) {
      const int left = width - x - v * kLanes;
      if (left > 0) store_some(out + x + v * kLanes, sigmoid(totals[v]), left < kLanes ? left : kLanes);
    }
  }
}

/// Features of a row, `from_pitch` floats a pixel, times the sum of both gates, into pixels of padded pitch.
SMHDR_INLINE void gate_row(const float* features, int64_t from_pitch, const float* gates, const float* spatial,
                           int width, int channels, float* row) {
  const int64_t pitch = padded_pitch(channels);
  for_channels(
      channels, [&](int c, int n) __attribute__((always_inline)) {
        const Vec gate = load_some(gates + c, n);
        for (int x = 0; x < width; ++x)
          store(row + x * pitch + c, load_some(features + x * from_pitch + c, n) * (gate + splat(spatial[x])));
      });
}

/// The result's rows [y0, y1) and columns [x0, x1), at most kTokens of them, to pixels of C floats with `stride` floats
/// from row to row.
static void local_rectangle(const LocalBranchArgs& args, const LocalPlan& plan, int b, int y0, int y1, int x0, int x1,
                            float* out, int64_t stride, float* scratch) {
  const int height = args.x.height, width = args.x.width, channels = args.x.channels;
  const int64_t pitch = padded_pitch(channels), row_size = pitch * (kTokens + 4);
  float *gated = scratch + 3 * row_size, *features = gated + 3 * row_size, *taps1 = features + pitch * (kTokens + 2),
        *taps2 = taps1 + 9 * pitch;
  taps_first(args.weights.depthwise1_weight, channels, taps1);
  taps_first(args.weights.depthwise2_weight, channels, taps2);
  const auto normal = [&](int y) { return scratch + (y + 3) % 3 * row_size; };
  const auto ring = [&](int y) { return gated + (y + 3) % 3 * row_size; };
  // Beyond the image the second convolution sees zeros, not features.
  const int first = x0 > 0 ? x0 - 1 : 0, last = x1 < width ? x1 + 1 : width;
  const auto gate = [&](int y) {
    float* row = ring(y);
    if (y < 0 || y >= height || x0 == 0)
      for (int64_t c = 0; c < pitch; c += kLanes) store(row + c, Vec{});
    if (y < 0 || y >= height || x1 == width)
      for (int64_t c = 0; c < pitch; c += kLanes) store(row + (x1 - x0 + 1) * pitch + c, Vec{});
    if (y < 0 || y >= height) {
      for (int64_t i = pitch; i < (x1 - x0 + 1) * pitch; i += kLanes) store(row + i, Vec{});
      return;
    }
    const float* const rows[3] = {normal(y - 1), normal(y), normal(y + 1)};
    const int64_t skip = (first - (x0 - 1)) * pitch;
    const float* const from[3] = {rows[0] + skip, rows[1] + skip, rows[2] + skip};
    depthwise_row(
        from, taps1, args.weights.depthwise1_bias, last - first,
        channels, [&](int x, int c, int, Vec value) __attribute__((always_inline)) {
          store(features + x * pitch + c, value);
        });
    gate_row(features, pitch, plan.gates + int64_t{b} * channels,
             plan.spatial + (int64_t{b} * height + y) * width + first, last - first, channels, row + skip);
  };
  // Row y of the result needs the gated rows y - 1 to y + 1, those the normalised rows y - 2 to y + 2.
  for (int y = y0 - 2; y < y1 + 2; ++y) {
    normal_row(args, b, y, x0 - 2, x1 + 2, normal(y));
    if (y >= y0) gate(y - 1);
    if (y < y0 + 2) continue;
    const float* const rows[3] = {ring(y - 3), ring(y - 2), ring(y - 1)};
    float* to = out + (y - 2 - y0) * stride;
    depthwise_row(
        rows, taps2, args.weights.depthwise2_bias, x1 - x0,
        channels, [&](int x, int c, int n, Vec value) __attribute__((always_inline)) {
          store_some(to + int64_t{x} * channels + c, value, n);
        });
  }
}

}  // namespace smhdr::cpu::SMHDR_ISA
