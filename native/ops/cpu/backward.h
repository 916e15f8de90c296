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
  const int channels = args.forward.x.channels, hidden = args.forward.weights.hidden;
  const int64_t outer1 = outer_scratch(hidden, channels), outer2 = outer_scratch(channels, hidden),
                words = kTokens * (room(channels) + room(hidden)), outer = outer1 > outer2 ? outer1 : outer2;
  return kTokens * (4 * int64_t{channels} + 3 * int64_t{hidden}) + (outer > words ? outer : words);
}

template <typename Word>
static void mlp_backward_tokens(const MlpBackwardArgs& args, const MlpBackwardPlan& plan, int b, int64_t first,
                                int count, float* scratch) {
  const MlpArgs& f = args.forward;
  const MlpWeights& w = f.weights;
  const MlpGradients& out = args.gradients;
  const int channels = f.x.channels, hidden = w.hidden;
  float *x = scratch, *in = x + kTokens * channels, *grad = in + kTokens * channels,
        *grad_in = grad + kTokens * channels, *slope = grad_in + kTokens * channels, *active = slope + kTokens * hidden,
        *grad_hidden = active + kTokens * hidden, *spare = grad_hidden + kTokens * hidden;
  const TileScope tiles;
  gather_tokens(f.x.data + first * channels, channels, count, x);
  if (w.norm.gain)
    normalise(x, w.norm, channels, in);
  else
    for (int i = 0; i < kTokens * channels; i += kLanes) store(in + i, load(x + i));
  linear_from(
      FromBias{w.fc1_bias}, static_cast<const Word*>(plan.fc1), as_words<Word>(in, channels, spare),
      channels / kWordRows<Word>, hidden, [&](int o, int t, Vec sum) __attribute__((always_inline)) {
        const Vec distribution = normal_distribution(sum);
        store(active + o * kTokens + t, sum * distribution);
        store(slope + o * kTokens + t, gelu_slope(sum, distribution));
      });
  gather_gradients(args.grad_out.data + first * channels, channels, count, f.keep ? f.keep[b] : 1.0f, grad);

  linear_back<Word>(
      w.fc2_weight, plan.fc2_turned, grad, channels, hidden,
      spare, [&](int o, int t, Vec sum) __attribute__((always_inline)) {
        store(grad_hidden + o * kTokens + t, sum * load(slope + o * kTokens + t));
      });
  linear_back<Word>(
      w.fc1_weight, plan.fc1_turned, grad_hidden, hidden, channels,
      spare, [&](int o, int t, Vec sum) __attribute__((always_inline)) { store(grad_in + o * kTokens + t, sum); });
  if (out.fc2_weight) outer<Word>(grad, channels, active, hidden, out.fc2_weight, spare);
  if (out.fc1_weight) outer<Word>(grad_hidden, hidden, in, channels, out.fc1_weight, spare);
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

constexpr int kPairs = kTokens / 2 + 1;  // of a row's tokens and one more on either side

static int64_t convolution_backward_scratch(const ConvolutionBackwardArgs& args) {
  const int64_t stride = padded_columns(args.x.channels), out = args.grad_out.channels, row = (kTokens + 2) * stride;
  if (!kTiled) return 3 * row + kTokens * out;
  return row + kTokens * out + (kTileRows + 2) * 2 * kPairs * stride + kTileRows * (out + kTileSide) * kTokens / 2;
}

/// Row y of the input with one pixel on either side of its `count`, padding made real, token-major with `stride` floats
/// a token; zeros beyond.
static void convolution_tokens(const ConvolutionBackwardArgs& args, int b, int y, int x0, int count, int64_t stride,
                               float* to) {
  const int height = args.x.height, width = args.x.width;
  const bool reflect = args.padding == Padding::reflect;
  for (int64_t i = 0; i < (kTokens + 2) * stride; ++i) to[i] = 0;
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
        args.x.channels, [&](int c, int n) __attribute__((always_inline)) {
          store_some(to + (t + 1) * stride + c, load_some(from + c, n), n);
        });
  }
}

#if defined(__AMX_BF16__)
/// grad_weight [tap][out][in] from all rows of a tile at once: gradients [row][out][32] are left operands; inputs
/// [row][2][kPairs][stride], the pairs beginning at even and at odd tokens, so that every tap finds its own, right
/// ones.
static void convolution_tap_products(const Pair* gradients, const Pair* inputs, int64_t stride, int rows, int in,
                                     int out, float* grad_weight) {
  constexpr int words = kTokens / 2;
  alignas(64) float sums[kTileSide * kTokens];
  for (int tap = 0; tap < 9; ++tap)
    for (int o = 0; o < out; o += kTileSide)
      for (int first = 0; first < in; first += kTokens) {
        tile_zero_sums();
        for (int y = 0; y < rows; ++y) {
          const int column = tap % 3;
          const Pair* row = inputs + ((y + tap / 3) * 2 + column % 2) * kPairs * stride + column / 2 * stride;
          tile_add_products({gradients + (int64_t{y} * (out + kTileSide) + o) * words, words, kTileSide}, row + first,
                            stride, words / kTileSide);
        }
        tile_store_sums(sums, kTokens);
        add_tile_sums(sums, out - o < kTileSide ? out - o : kTileSide, first, in,
                      grad_weight + (int64_t{tap} * out + o) * in);
      }
}
#endif

/// Word: what the products multiply.
template <typename Word>
static void convolution_backward_tile(const ConvolutionBackwardArgs& args, int b, int y0, int x0, float* scratch) {
  const int height = args.x.height, width = args.x.width, in = args.x.channels, out = args.grad_out.channels;
  const int count = width - x0 < kTokens ? width - x0 : kTokens;
  const int rows = height - y0 < kTileRows ? height - y0 : kTileRows;
  const int64_t stride = padded_columns(in), row_size = (kTokens + 2) * stride;
#if defined(__AMX_BF16__)
  if constexpr (kWordRows<Word> == 2) {
    const TileScope tiles;
    float *row = scratch, *grad = row + row_size;
    Pair *inputs = reinterpret_cast<Pair*>(grad + kTokens * out),
         *gradients = inputs + (kTileRows + 2) * 2 * kPairs * stride;
    for (int y = -1; args.grad_weight && y <= rows; ++y) {
      convolution_tokens(args, b, y0 + y, x0, count, stride, row);
      Pair* to = inputs + (y + 1) * 2 * kPairs * stride;
      for (int start = 0; start < 2; ++start)
        for (int pair = 0; pair < kPairs - start; ++pair)
          for (int c = 0; c < in; c += kLanes) {  // what is beyond `in` reaches no result
            const float* from = row + (2 * pair + start) * stride + c;
            store_pairs(to + (start * kPairs + pair) * stride + c, load(from), load(from + stride));
          }
    }
    for (int y = 0; y < rows; ++y) {
      gather_gradients(args.grad_out.at(b, y0 + y, x0), out, count, 1.0f, grad);
      as_words_along<Word>(grad, out,
                           reinterpret_cast<float*>(gradients + int64_t{y} * (out + kTileSide) * kTokens / 2));
      if (args.grad_bias) sum_tokens(grad, out, args.grad_bias);
    }
    if (args.grad_weight) convolution_tap_products(gradients, inputs, stride, rows, in, out, args.grad_weight);
    return;
  }
#endif
  float* grad = scratch + 3 * row_size;
  const auto ring = [&](int y) { return scratch + (y + 3) % 3 * row_size; };
  const auto prepare = [&](int y) { convolution_tokens(args, b, y, x0, count, stride, ring(y)); };
  prepare(y0 - 1);
  prepare(y0);
  for (int y = y0; y < y0 + rows; ++y) {
    prepare(y + 1);
    gather_gradients(args.grad_out.at(b, y, x0), out, count, 1.0f, grad);
    for (int tap = 0; args.grad_weight && tap < 9; ++tap)
      outer_tokens(grad, out, ring(y + tap / 3 - 1) + tap % 3 * stride, stride, in,
                   args.grad_weight + int64_t{tap} * out * in);
    if (args.grad_bias) sum_tokens(grad, out, args.grad_bias);
  }
}

}  // namespace smhdr::cpu::SMHDR_ISA
