// The local branch in two passes over bands of rows: the first makes the features and everything the whole image must
// be summed for; the second applies both gates and the second depthwise convolution.
#pragma once

#include "ops/cpu/token_kernels.h"

namespace smhdr::cpu::SMHDR_ISA {

static int64_t local_scratch(const LocalBranchArgs& args) {
  // A ring of three rows with a zero pixel on either side, both filters tap by tap, one row of spatial gates.
  return int64_t{args.x.channels} * (3 * (args.x.width + 2) + 18) + args.x.width + kLanes;
}

/// [C, 1, 3, 3] -> [9][C]
SMHDR_INLINE void taps_first(const float* weight, int channels, float* taps) {
  for (int c = 0; c < channels; ++c)
    for (int k = 0; k < 9; ++k) taps[k * channels + c] = weight[c * 9 + k];
}

/// One output row of a depthwise 3x3 (bias may be null); rows[k] points at the zero pixel before column 0.
SMHDR_INLINE void depthwise_row(const float* const rows[3], const float* taps, const float* bias, int width,
                                int channels, float* out) {
  for (int x = 0; x < width; ++x)
    for_channels(
        channels, [&](int c, int n) __attribute__((always_inline)) {
          Vec total = bias ? load_some(bias + c, n) : Vec{};
#pragma GCC unroll 3
          for (int ky = 0; ky < 3; ++ky)
#pragma GCC unroll 3
            for (int kx = 0; kx < 3; ++kx)
              total += load_some(rows[ky] + int64_t{x + kx} * channels + c, n) *
                       load_some(taps + (ky * 3 + kx) * channels + c, n);
          store_some(out + int64_t{x} * channels + c, total, n);
        });
}

template <typename FillRow, typename UseRow>
SMHDR_INLINE void depthwise_band(int height, int width, int channels, const float* weight, const float* bias, int band,
                                 float* scratch, FillRow fill, UseRow use) {
  const int64_t row_size = int64_t{channels} * (width + 2);
  float* taps = scratch + 3 * row_size;
  taps_first(weight, channels, taps);
  const auto ring = [&](int y) { return scratch + (y + 3) % 3 * row_size; };
  const auto prepare = [&](int y) {
    float* row = ring(y);
    for (int64_t i = 0; i < row_size; ++i) row[i] = 0;
    if (y >= 0 && y < height) fill(y, row + channels);
  };
  const int y0 = band * kTileRows;
  prepare(y0 - 1);
  prepare(y0);
  for (int y = y0; y < y0 + kTileRows && y < height; ++y) {
    prepare(y + 1);
    const float* const rows[3] = {ring(y - 1), ring(y), ring(y + 1)};
    use(y, rows, taps, bias);
  }
}

static void local_features(const LocalBranchArgs& args, const LocalPlan& plan, int b, int band, float* scratch) {
  const int height = args.x.height, width = args.x.width, channels = args.x.channels;
  const int bands = (height + kTileRows - 1) / kTileRows;
  double* sums = plan.sums + (int64_t{b} * bands + band) * channels;
  for (int c = 0; c < channels; ++c) sums[c] = 0;
  const int64_t frame_width = width + 6, frame = (height + 6) * frame_width;
  float* means = plan.planes + int64_t{b} * 2 * frame;
  depthwise_band(
      height, width, channels, args.weights.depthwise1_weight, args.weights.depthwise1_bias, band, scratch,
      [&](int y, float* row) { layer_norm(args.x.at(b, y, 0), args.weights.norm, channels, width, row); },
      [&](int y, const float* const rows[3], const float* taps, const float* bias) {
        float* out = plan.features.at(b, y, 0);
        depthwise_row(rows, taps, bias, width, channels, out);
        float* mean = means + (y + 3) * frame_width + 3;
        float* top = mean + frame;
        for (int x = 0; x < width; ++x) {
          const float* pixel = out + int64_t{x} * channels;
          Vec total{}, most = splat(pixel[0]);
          for_channels(
              channels, [&](int c, int n) __attribute__((always_inline)) {
                const Vec v = load_some(pixel + c, n);
                total += v;
                if (n == kLanes)
                  most = max(most, v);
                else
                  for (int i = 0; i < n; ++i) most[i] = v[i] > most[i] ? v[i] : most[i];
              });
          mean[x] = sum(total) / channels;
          top[x] = largest(most);
        }
        for_channels(
            channels, [&](int c, int n) __attribute__((always_inline)) {
              Vec total{};
              for (int x = 0; x < width; ++x) total += load_some(out + int64_t{x} * channels + c, n);
              for (int i = 0; i < n; ++i) sums[c + i] += total[i];
            });
      });
}

static void local_output(const LocalBranchArgs& args, const LocalPlan& plan, int b, int band, float* keep_spatial,
                         float* scratch) {
  const int height = args.x.height, width = args.x.width, channels = args.x.channels;
  const int64_t frame_width = width + 6, frame = (height + 6) * frame_width;
  const float* planes = plan.planes + int64_t{b} * 2 * frame;
  const float* gates = plan.gates + int64_t{b} * channels;
  float* spatial = scratch + int64_t{channels} * (3 * (width + 2) + 18);
  depthwise_band(
      height, width, channels, args.weights.depthwise2_weight, args.weights.depthwise2_bias, band, scratch,
      [&](int y, float* row) {
        for (int x = 0; x < width; x += kLanes) {
          const int n = width - x < kLanes ? width - x : kLanes;
          Vec total = splat(args.weights.spatial_bias[0]);
          for (int i = 0; i < 2; ++i)
            for (int ky = 0; ky < 7; ++ky)
              for (int kx = 0; kx < 7; ++kx)
                total += load_some(planes + i * frame + (y + ky) * frame_width + x + kx, n) *
                         args.weights.spatial_weight[(i * 7 + ky) * 7 + kx];
          store(spatial + x, sigmoid(total));
          if (keep_spatial) store_some(keep_spatial + (int64_t{b} * height + y) * width + x, load(spatial + x), n);
        }
        const float* from = plan.features.at(b, y, 0);
        for (int x = 0; x < width; ++x)
          for_channels(
              channels, [&](int c, int n) __attribute__((always_inline)) {
                store_some(row + int64_t{x} * channels + c,
                           load_some(from + int64_t{x} * channels + c, n) * (load_some(gates + c, n) + spatial[x]), n);
              });
      },
      [&](int y, const float* const rows[3], const float* taps, const float* bias) {
        depthwise_row(rows, taps, bias, width, channels, args.out.at(b, y, 0));
      });
}

}  // namespace smhdr::cpu::SMHDR_ISA
