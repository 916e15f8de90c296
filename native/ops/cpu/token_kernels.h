// What works on pixels alone, 64 at a time: the MLP with its LayerNorm and residual, the exposure attention's two
// passes, LayerNorm by itself, folding and adding.
#pragma once

#include "ops/cpu/product.h"

namespace smhdr::cpu::SMHDR_ISA {

/// Up to 64 consecutive pixels to [C][64]; what is beyond `count` repeats the last pixel, so that it stays finite.
SMHDR_INLINE void gather_tokens(const float* x, int channels, int count, float* to) {
  const float* tokens[kTokens];
  for (int t = 0; t < kTokens; ++t) tokens[t] = x + int64_t{t < count ? t : count - 1} * channels;
  to_channel_major(tokens, kTokens, channels, to, kTokens);
}

static int64_t mlp_scratch(const MlpArgs& args) {
  return int64_t{kTokens} * (2 * args.x.channels + args.weights.hidden);
}

static void mlp_tokens(const MlpArgs& args, int b, int64_t first, int count, float* scratch) {
  const int channels = args.x.channels, hidden = args.weights.hidden;
  float *x = scratch, *inner = x + kTokens * channels, *result = inner + kTokens * hidden;
  const float* from = args.x.data + first * channels;
  gather_tokens(from, channels, count, x);
  if (args.weights.norm.gain) normalise(x, args.weights.norm, channels);
  const float *bias1 = args.weights.fc1_bias, *bias2 = args.weights.fc2_bias;
  linear(
      args.weights.fc1_weight, x, channels, hidden, [&](int o, int t, Vec sum) __attribute__((always_inline)) {
        store(inner + o * kTokens + t, gelu(sum + bias1[o]));
      });
  const float keep = args.keep ? args.keep[b] : 1.0f;
  linear(
      args.weights.fc2_weight, inner, hidden, channels, [&](int o, int t, Vec sum) __attribute__((always_inline)) {
        store(x + o * kTokens + t, (sum + bias2[o]) * keep);
      });
  to_token_major(x, channels, result);
  const float* add = args.add ? args.add + first * channels : nullptr;
  float* out = args.out.data + first * channels;
  for_channels(
      count * channels, [&](int i, int n) __attribute__((always_inline)) {
        Vec sum = load_some(result + i, n);
        if (args.residual) sum += load_some(from + i, n);
        if (add) sum += load_some(add + i, n);
        store_some(out + i, sum, n);
      });
}

/// LayerNorm of one pixel's channels.
SMHDR_INLINE void normalise_pixel(const float* x, NormWeights weights, int channels, float* out) {
  Vec total{};
  for_channels(
      channels, [&](int c, int n) __attribute__((always_inline)) { total += load_some(x + c, n); });
  const float mean = sum(total) / channels;
  Vec squares{};
  for_channels(
      channels, [&](int c, int n) __attribute__((always_inline)) {
        const Vec d = load_some(x + c, n) - mean;
        if (n == kLanes)
          squares += d * d;
        else  // lanes beyond n hold -mean: count only the real ones
          for (int i = 0; i < n; ++i) squares[i] += d[i] * d[i];
      });
  const float scale = 1.0f / __builtin_sqrtf(sum(squares) / channels + kNormEpsilon);
  for_channels(
      channels, [&](int c, int n) __attribute__((always_inline)) {
        store_some(
            out + c,
            (load_some(x + c, n) - mean) * scale * load_some(weights.gain + c, n) + load_some(weights.bias + c, n), n);
      });
}

static void layer_norm(const float* x, NormWeights weights, int channels, int64_t count, float* out) {
  for (int64_t p = 0; p < count; ++p) normalise_pixel(x + p * channels, weights, channels, out + p * channels);
}

// The Gram matrix is summed in floats over kGramTokens pixels, then in doubles.
constexpr int kGramTokens = 512;

static int64_t exposure_scratch(int channels) {
  const int64_t padded = (channels + kLanes - 1) / kLanes * kLanes;
  const int64_t gram = 2 * kGramTokens * padded, mix = int64_t{kTokens} * 2 * channels;
  return gram > mix ? gram : mix;
}

template <int R>
SMHDR_INLINE void gram_rows(const float* left, const float* z, int64_t padded, int count, int first, int column,
                            int channels, double* gram) {
  Vec sums[R];
  for (int r = 0; r < R; ++r) sums[r] = Vec{};
  for (int t = 0; t < count; ++t) {
    const Vec in = load(z + t * padded + column);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) sums[r] += in * left[t * padded + first + r];
  }
  for (int r = 0; r < R; ++r)
    for (int i = 0; i < kLanes && column + i < channels; ++i) gram[(first + r) * channels + column + i] += sums[r][i];
}

/// gram += left z^T over `count` pixels, both with `padded` floats a pixel.
SMHDR_INLINE void gram_block(const float* left, const float* z, int64_t padded, int count, int channels, double* gram) {
  for (int column = 0; column < channels; column += kLanes) {
    int row = 0;
    for (; row + 12 <= channels; row += 12) gram_rows<12>(left, z, padded, count, row, column, channels, gram);
    for (; row + 4 <= channels; row += 4) gram_rows<4>(left, z, padded, count, row, column, channels, gram);
    for (; row < channels; ++row) gram_rows<1>(left, z, padded, count, row, column, channels, gram);
  }
}

/// normalises `count` pixels into rows of `padded` floats, zero beyond C.
SMHDR_INLINE void normalise_padded(const float* x, NormWeights weights, int channels, int count, int64_t padded,
                                   float* to) {
  for (int t = 0; t < count; ++t) {
    normalise_pixel(x + int64_t{t} * channels, weights, channels, to + t * padded);
    for (int64_t c = channels; c < padded; ++c) to[t * padded + c] = 0;
  }
}

static void exposure_gram(const float* x, NormWeights weights, int channels, int64_t count, double* gram,
                          float* scratch) {
  const int64_t padded = (channels + kLanes - 1) / kLanes * kLanes;
  for (int64_t start = 0; start < count; start += kGramTokens) {
    const int tokens = static_cast<int>(count - start < kGramTokens ? count - start : kGramTokens);
    normalise_padded(x + start * channels, weights, channels, tokens, padded, scratch);
    gram_block(scratch, scratch, padded, tokens, channels, gram);
  }
}

static void exposure_mix(const float* x, NormWeights weights, const float* product, int channels, int count, float* out,
                         float* scratch) {
  float *z = scratch, *mixed = z + kTokens * channels;
  gather_tokens(x, channels, count, z);
  normalise(z, weights, channels);
  linear(
      product, z, channels,
      channels, [&](int o, int t, Vec sum) __attribute__((always_inline)) { store(mixed + o * kTokens + t, sum); });
  to_token_major(mixed, channels, z);
  for_channels(
      count * channels, [&](int i, int n) __attribute__((always_inline)) {
        store_some(out + i, load_some(x + i, n) + load_some(z + i, n), n);
      });
}

static void fold(const float* features, int channels, const int* starts, int exposures, int slot, const float* share,
                 int64_t count, float* out) {
  const int width = starts[slot + 1] - starts[slot];
  const int common = channels / exposures;  // channels that every group has; some have one more
  for (int64_t p = 0; p < count; ++p) {
    const float* in = features + p * channels;
    float* to = out + p * channels + starts[slot];
    for_channels(
        common, [&](int c, int n) __attribute__((always_inline)) {
          Vec total = load_some(in + c, n);
          for (int g = 1; g < exposures; ++g) total += load_some(in + starts[g] + c, n);
          store_some(to + c, total * share[0], n);
        });
    if (width == common) continue;
    float total = 0;
    for (int g = 0; g < exposures; ++g)
      if (starts[g + 1] - starts[g] == width) total += in[starts[g] + common];
    to[common] = total * share[common];
  }
}

static void add(const float* a, const float* b, int64_t count, float* out) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(out + i, load(a + i) + load(b + i));
  for (; i < count; ++i) out[i] = a[i] + b[i];
}

}  // namespace smhdr::cpu::SMHDR_ISA
