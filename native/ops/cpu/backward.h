// Backward of what works on pixels alone (LayerNorm, MLP, exposure attention) and of the 3x3 convolution's weights.
#pragma once

#include "ops/cpu/convolution.h"
#include "ops/cpu/mlp.h"
#include "ops/cpu/token_kernels.h"

namespace smhdr::cpu::SMHDR_ISA {

/// Gradients of up to 64 pixels to [C][64], times `scale`; pixels beyond `count` have none.
SMHDR_INLINE void gather_gradients(const float* grad, int channels, int count, float scale, float* to) {
  gather_tokens(grad, channels, count, to);
  for (int c = 0; c < channels; ++c)
    for (int t = 0; t < kTokens; ++t) to[c * kTokens + t] = t < count ? to[c * kTokens + t] * scale : 0.0f;
}

static int64_t norm_backward_scratch(int channels) { return int64_t{2} * kTokens * channels; }

static void norm_backward_tokens(const float* x, NormWeights weights, const float* grad_out, NormGradients gradients,
                                 int channels, int count, bool accumulate, float* grad_x, float* scratch) {
  float *in = scratch, *grad = in + kTokens * channels;
  gather_tokens(x, channels, count, in);
  gather_gradients(grad_out, channels, count, 1.0f, grad);
  normalise_backward(in, weights, channels, grad, gradients.gain, gradients.bias);
  scatter_tokens(grad, channels, count, accumulate ? grad_x : nullptr, grad_x);
}

static int64_t mlp_backward_scratch(const MlpBackwardArgs& args) {
  const int64_t channels = args.forward.x.channels, hidden = args.forward.weights.hidden;
  return kTokens *
         (4 * channels + 3 * hidden + padded_columns(static_cast<int>(channels > hidden ? channels : hidden)));
}

static void mlp_backward_tokens(const MlpBackwardArgs& args, int b, int64_t first, int count, float* scratch) {
  const MlpArgs& f = args.forward;
  const MlpWeights& w = f.weights;
  const MlpGradients& out = args.gradients;
  const int channels = f.x.channels, hidden = w.hidden;
  float *x = scratch, *in = x + kTokens * channels, *grad = in + kTokens * channels,
        *grad_in = grad + kTokens * channels, *slope = grad_in + kTokens * channels, *active = slope + kTokens * hidden,
        *grad_hidden = active + kTokens * hidden, *tokens = grad_hidden + kTokens * hidden;
  gather_tokens(f.x.data + first * channels, channels, count, x);
  if (w.norm.gain)
    normalise(x, w.norm, channels, in);
  else
    for (int i = 0; i < kTokens * channels; i += kLanes) store(in + i, load(x + i));
  linear(
      w.fc1_weight, in, channels, hidden, [&](int o, int t, Vec sum) __attribute__((always_inline)) {
        sum += w.fc1_bias[o];
        store(active + o * kTokens + t, gelu(sum));
        store(slope + o * kTokens + t, gelu_slope(sum));
      });
  gather_gradients(args.grad_out.data + first * channels, channels, count, f.keep ? f.keep[b] : 1.0f, grad);

  product(
      w.fc2_weight, 1, hidden, grad, kTokens, channels,
      hidden, [&](int o, int t, Vec sum) __attribute__((always_inline)) {
        store(grad_hidden + o * kTokens + t, sum * load(slope + o * kTokens + t));
      });
  product(
      w.fc1_weight, 1, channels, grad_hidden, kTokens, hidden,
      channels, [&](int o, int t, Vec sum) __attribute__((always_inline)) { store(grad_in + o * kTokens + t, sum); });
  if (out.fc2_weight) {
    to_padded_tokens(active, hidden, tokens);
    outer(grad, channels, tokens, padded_columns(hidden), hidden, out.fc2_weight);
  }
  if (out.fc1_weight) {
    to_padded_tokens(in, channels, tokens);
    outer(grad_hidden, hidden, tokens, padded_columns(channels), channels, out.fc1_weight);
  }
  if (out.fc2_bias) sum_tokens(grad, channels, out.fc2_bias);
  if (out.fc1_bias) sum_tokens(grad_hidden, hidden, out.fc1_bias);
  if (w.norm.gain) normalise_backward(x, w.norm, channels, grad_in, out.norm.gain, out.norm.bias);
  scatter_tokens(grad_in, channels, count, f.residual ? args.grad_out.data + first * channels : nullptr,
                 args.grad_x.data + first * channels);
}

static void exposure_cross_gram(const float* g, const float* x, NormWeights weights, int channels, int64_t count,
                                double* gram, float* scratch) {
  const int64_t padded = padded_pitch(channels);
  float* left = scratch + kGramTokens * padded;
  for (int64_t start = 0; start < count; start += kGramTokens) {
    const int tokens = static_cast<int>(count - start < kGramTokens ? count - start : kGramTokens);
    normalise_pixels(x + start * channels, weights, channels, tokens, scratch, padded);
    for (int t = 0; t < tokens; ++t)
      for_channels(
          channels, [&](int c, int n) __attribute__((always_inline)) {
            store_some(left + t * padded + c, load_some(g + (start + t) * channels + c, n), n);
          });
    gram_block(left, scratch, padded, tokens, channels, gram);
  }
}

static int64_t exposure_backward_scratch(int channels) { return int64_t{4} * kTokens * channels; }

static void exposure_backward_tokens(const float* x, NormWeights weights, const float* g, const float* product_matrix,
                                     const float* square, NormGradients gradients, int channels, int count,
                                     float* grad_x, float* scratch) {
  float *in = scratch, *z = in + kTokens * channels, *grad = z + kTokens * channels, *sums = grad + kTokens * channels;
  gather_tokens(x, channels, count, in);
  normalise(in, weights, channels, z);
  gather_gradients(g, channels, count, 1.0f, grad);
  linear(
      product_matrix, grad, channels,
      channels, [&](int o, int t, Vec sum) __attribute__((always_inline)) { store(sums + o * kTokens + t, sum); });
  linear(
      square, z, channels, channels, [&](int o, int t, Vec sum) __attribute__((always_inline)) {
        store(sums + o * kTokens + t, load(sums + o * kTokens + t) + sum);
      });
  for (int c = 0; c < channels; ++c)
    for (int t = count; t < kTokens; ++t) sums[c * kTokens + t] = 0;
  normalise_backward(in, weights, channels, sums, gradients.gain, gradients.bias);
  scatter_tokens(sums, channels, count, g, grad_x);
}

static int64_t convolution_backward_scratch(const ConvolutionBackwardArgs& args) {
  const int64_t stride = padded_columns(args.x.channels);
  return 3 * (kTokens + 2) * stride + kTokens * args.grad_out.channels;
}

static void convolution_backward_tile(const ConvolutionBackwardArgs& args, int b, int y0, int x0, float* scratch) {
  const int height = args.x.height, width = args.x.width, in = args.x.channels, out = args.grad_out.channels;
  const int count = width - x0 < kTokens ? width - x0 : kTokens;
  const int64_t stride = padded_columns(in), row_size = (kTokens + 2) * stride;
  float* grad = scratch + 3 * row_size;
  const bool reflect = args.padding == Padding::reflect;
  const auto ring = [&](int y) { return scratch + (y + 3) % 3 * row_size; };
  // Row y of the input with one pixel on either side, padding made real, token-major.
  const auto prepare = [&](int y) {
    float* to = ring(y);
    for (int64_t i = 0; i < row_size; ++i) to[i] = 0;
    if (y < 0 || y >= height) {
      if (!reflect) return;
      y = mirrored(y, height);
    }
    for (int t = -1; t <= count; ++t) {
      int x = x0 + t;
      if (x < 0 || x >= width) {
        if (!reflect) continue;
        x = mirrored(x, width);
      }
      const float* from = args.x.at(b, y, x);
      for_channels(
          in, [&](int c, int n)
                  __attribute__((always_inline)) { store_some(to + (t + 1) * stride + c, load_some(from + c, n), n); });
    }
  };
  prepare(y0 - 1);
  prepare(y0);
  for (int y = y0; y < y0 + kTileRows && y < height; ++y) {
    prepare(y + 1);
    gather_gradients(args.grad_out.at(b, y, x0), out, count, 1.0f, grad);
    for (int tap = 0; args.grad_weight && tap < 9; ++tap)
      outer(grad, out, ring(y + tap / 3 - 1) + tap % 3 * stride, stride, in,
            args.grad_weight + int64_t{tap} * out * in);
    if (args.grad_bias) sum_tokens(grad, out, args.grad_bias);
  }
}

}  // namespace smhdr::cpu::SMHDR_ISA
