// Backward of the local branch in three passes over bands of rows, with the whole-image steps between them.
#pragma once

#include "ops/cpu/backward.h"
#include "ops/cpu/local_branch.h"

namespace smhdr::cpu::SMHDR_ISA {

static int64_t local_backward_scratch(const LocalBranchBackwardArgs& args) {
  const int64_t channels = args.forward.x.channels, width = args.forward.x.width;
  return 2 * ring_size(args.forward.x.channels, args.forward.x.width) + 18 * padded_pitch(args.forward.x.channels) +
         norm_backward_scratch(args.forward.x.channels) + channels * width;
}

/// grad_taps [9][pitch] += the row's gradients times the inputs under each tap.
SMHDR_INLINE void depthwise_weights_row(const float* grad, const float* const rows[3], int width, int channels,
                                        float* grad_taps) {
  const int64_t pitch = padded_pitch(channels);
  for_channels(
      channels, [&](int c, int n) __attribute__((always_inline)) {
        Vec sums[9];
        for (int k = 0; k < 9; ++k) sums[k] = Vec{};
        for (int x = 0; x < width; ++x) {
          const Vec g = load_some(grad + int64_t{x} * channels + c, n);
#pragma GCC unroll 9
          for (int k = 0; k < 9; ++k) sums[k] += g * load(rows[k / 3] + (x + k % 3) * pitch + c);
        }
        for (int k = 0; k < 9; ++k) store(grad_taps + k * pitch + c, load(grad_taps + k * pitch + c) + sums[k]);
      });
}

/// Walks a band with two rings of three framed rows: `fill` writes row y of both; `use` gets the rings.
template <typename Fill, typename Use>
SMHDR_INLINE void two_rings(int height, int width, int channels, int band, float* scratch, Fill fill, Use use) {
  const int64_t pitch = padded_pitch(channels), row_size = pitch * (width + 2);
  const auto ring = [&](int which, int y) { return scratch + (which * 3 + (y + 3) % 3) * row_size; };
  const auto prepare = [&](int y) {
    for (int which = 0; which < 2; ++which)
      for (int64_t i = 0; i < row_size; ++i) ring(which, y)[i] = 0;
    if (y >= 0 && y < height) fill(y, ring(0, y) + pitch, ring(1, y) + pitch);
  };
  const int y0 = band * kTileRows;
  prepare(y0 - 1);
  prepare(y0);
  for (int y = y0; y < y0 + kTileRows && y < height; ++y) {
    prepare(y + 1);
    const float* const first[3] = {ring(0, y - 1), ring(0, y), ring(0, y + 1)};
    const float* const second[3] = {ring(1, y - 1), ring(1, y), ring(1, y + 1)};
    use(y, first, second);
  }
}

/// Pixels of C floats to pixels of padded pitch.
SMHDR_INLINE void pad_row(const float* from, int width, int channels, float* to) {
  const int64_t pitch = padded_pitch(channels);
  for (int x = 0; x < width; ++x)
    for_channels(
        channels, [&](int c, int n) __attribute__((always_inline)) {
          store(to + x * pitch + c, load_some(from + int64_t{x} * channels + c, n));
        });
}

SMHDR_INLINE void add_row(const float* row, int width, int channels, float* sums) {
  for_channels(
      channels, [&](int c, int n) __attribute__((always_inline)) {
        Vec total{};
        for (int x = 0; x < width; ++x) total += load_some(row + int64_t{x} * channels + c, n);
        store_some(sums + c, load_some(sums + c, n) + total, n);
      });
}

/// [9][pitch] accumulators to the published [C, 1, 3, 3].
SMHDR_INLINE void add_taps(const float* grad_taps, int channels, float* weight) {
  for (int c = 0; c < channels; ++c)
    for (int k = 0; k < 9; ++k) weight[c * 9 + k] += grad_taps[k * padded_pitch(channels) + c];
}

static void local_backward_gates(const LocalBranchBackwardArgs& args, const LocalBackwardPlan& plan, int b, int band,
                                 double* sums, float* scratch) {
  const LocalBranchWeights& w = args.forward.weights;
  const int height = args.forward.x.height, width = args.forward.x.width, channels = args.forward.x.channels;
  const float* gates = plan.forward.gates + int64_t{b} * channels;
  const int64_t pitch = padded_pitch(channels);
  float *taps = scratch + 2 * ring_size(channels, width), *grad_taps = taps + 9 * pitch;
  taps_first(w.depthwise2_weight, channels, taps, true);
  for (int i = 0; i < 9 * pitch; ++i) grad_taps[i] = 0;
  two_rings(
      height, width, channels, band, scratch,
      [&](int y, float* grad_row, float* gated_row) {
        const float *g = args.grad_out.at(b, y, 0), *features = plan.forward.features.at(b, y, 0),
                    *spatial = plan.forward.spatial + (int64_t{b} * height + y) * width;
        pad_row(g, width, channels, grad_row);
        gate_row(features, channels, gates, spatial, width, channels, gated_row);
      },
      [&](int y, const float* const grads[3], const float* const gated[3]) {
        float* grad = plan.grad.at(b, y, 0);
        depthwise_row(
            grads, taps, nullptr, width, channels, [&](int x, int c, int n, Vec value) __attribute__((always_inline)) {
              store_some(grad + int64_t{x} * channels + c, value, n);
            });
        if (args.gradients.depthwise2_weight)
          depthwise_weights_row(args.grad_out.at(b, y, 0), gated, width, channels, grad_taps);
        if (args.gradients.depthwise2_bias)
          add_row(args.grad_out.at(b, y, 0), width, channels, args.gradients.depthwise2_bias);
        const float *features = plan.forward.features.at(b, y, 0),
                    *spatial = plan.forward.spatial + (int64_t{b} * height + y) * width;
        const int64_t frame_width = width + 6;
        float* grad_spatial = plan.grad_spatial + int64_t{b} * (height + 6) * frame_width + (y + 3) * frame_width + 3;
        for (int x = 0; x < width; ++x) {
          Vec total{};
          for_channels(
              channels, [&](int c, int n) __attribute__((always_inline)) {
                const int64_t i = int64_t{x} * channels + c;
                total += load_some(grad + i, n) * load_some(features + i, n);
              });
          grad_spatial[x] = sum(total) * spatial[x] * (1 - spatial[x]);
        }
        for_channels(
            channels, [&](int c, int n) __attribute__((always_inline)) {
              Vec total{};
              for (int x = 0; x < width; ++x) {
                const int64_t i = int64_t{x} * channels + c;
                const Vec g = load_some(grad + i, n);
                total += g * load_some(features + i, n);
                store_some(grad + i, g * (load_some(gates + c, n) + spatial[x]), n);
              }
              for (int i = 0; i < n; ++i) sums[c + i] += total[i];
            });
      });
  if (args.gradients.depthwise2_weight) add_taps(grad_taps, channels, args.gradients.depthwise2_weight);
}

static void local_backward_spatial(const LocalBranchBackwardArgs& args, const LocalBackwardPlan& plan, int b,
                                   int band) {
  const LocalBranchWeights& w = args.forward.weights;
  const int height = args.forward.x.height, width = args.forward.x.width, channels = args.forward.x.channels;
  const int64_t frame_width = width + 6, frame = (height + 6) * frame_width;
  const float *planes = plan.forward.planes + int64_t{b} * 2 * frame, *grads = plan.grad_spatial + int64_t{b} * frame,
              *means = plan.grad_means + int64_t{b} * channels;
  for (int y = band * kTileRows; y < (band + 1) * kTileRows && y < height; ++y)
    for (int x = 0; x < width; x += kLanes) {
      const int n = width - x < kLanes ? width - x : kLanes;
      const Vec own = load_some(grads + (y + 3) * frame_width + x + 3, n);
      if (args.gradients.spatial_bias) args.gradients.spatial_bias[0] += sum(own);
      float to_planes[2][kLanes];
      for (int i = 0; i < 2; ++i) {
        Vec total{};
        for (int ky = 0; ky < 7; ++ky)
          for (int kx = 0; kx < 7; ++kx) {
            const int tap = (i * 7 + ky) * 7 + kx;
            const int64_t at = (y + ky) * frame_width + x + kx;
            total += load_some(grads + (y + 6 - ky) * frame_width + x + 6 - kx, n) * w.spatial_weight[tap];
            if (args.gradients.spatial_weight)
              args.gradients.spatial_weight[tap] += sum(own * load_some(planes + i * frame + at, n));
          }
        store(to_planes[i], total);
      }
      for (int i = 0; i < n; ++i) {
        const float* features = plan.forward.features.at(b, y, x + i);
        float* grad = plan.grad.at(b, y, x + i);
        const float share = to_planes[0][i] / channels, top = planes[frame + (y + 3) * frame_width + x + i + 3];
        for_channels(
            channels, [&](int c, int m) __attribute__((always_inline)) {
              store_some(grad + c, load_some(grad + c, m) + share + load_some(means + c, m), m);
            });
        int best = 0;
        while (best < channels - 1 && features[best] != top) ++best;
        grad[best] += to_planes[1][i];
      }
    }
}

static void local_backward_input(const LocalBranchBackwardArgs& args, const LocalBackwardPlan& plan, int b, int band,
                                 float* scratch) {
  const LocalBranchWeights& w = args.forward.weights;
  const int height = args.forward.x.height, width = args.forward.x.width, channels = args.forward.x.channels;
  const int64_t pitch = padded_pitch(channels);
  float *taps = scratch + 2 * ring_size(channels, width), *grad_taps = taps + 9 * pitch,
        *norm_scratch = grad_taps + 9 * pitch, *grad_y = norm_scratch + norm_backward_scratch(channels);
  taps_first(w.depthwise1_weight, channels, taps, true);
  for (int i = 0; i < 9 * pitch; ++i) grad_taps[i] = 0;
  two_rings(
      height, width, channels, band, scratch,
      [&](int y, float* grad_row, float* normal_row) {
        pad_row(plan.grad.at(b, y, 0), width, channels, grad_row);
        normalise_pixels(args.forward.x.at(b, y, 0), w.norm, channels, width, normal_row, pitch);
      },
      [&](int y, const float* const grads[3], const float* const normal[3]) {
        depthwise_row(
            grads, taps, nullptr, width, channels, [&](int x, int c, int n, Vec value) __attribute__((always_inline)) {
              store_some(grad_y + int64_t{x} * channels + c, value, n);
            });
        if (args.gradients.depthwise1_weight)
          depthwise_weights_row(plan.grad.at(b, y, 0), normal, width, channels, grad_taps);
        if (args.gradients.depthwise1_bias)
          add_row(plan.grad.at(b, y, 0), width, channels, args.gradients.depthwise1_bias);
        for (int x = 0; x < width; x += kTokens)
          norm_backward_tokens(args.forward.x.at(b, y, x), w.norm, grad_y + int64_t{x} * channels, args.gradients.norm,
                               channels, width - x < kTokens ? width - x : kTokens, true, args.grad_x.at(b, y, x),
                               norm_scratch);
      });
  if (args.gradients.depthwise1_weight) add_taps(grad_taps, channels, args.gradients.depthwise1_weight);
}

}  // namespace smhdr::cpu::SMHDR_ISA
