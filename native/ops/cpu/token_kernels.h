// What works on pixels alone: the exposure attention's two passes, LayerNorm by itself, folding and adding.
#pragma once

#include "ops/cpu/product.h"

namespace smhdr::cpu::SMHDR_ISA {

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

template <typename Word>
static void exposure_mix(const float* x, NormWeights weights, const void* product, int channels, int count, float* out,
                         float* scratch) {
  float *tokens = scratch, *z = tokens + kTokens * channels;
  gather_tokens(x, channels, count, tokens);
  const Word* words = normalise<Word>(tokens, weights, channels, z);
  linear(static_cast<const Word*>(product), words, channels / kWordRows<Word>, channels,
         [&](int o, int t, Vec sum) __attribute__((always_inline)) {
           store(tokens + o * kTokens + t, load(tokens + o * kTokens + t) + sum);
         });
  scatter_tokens(tokens, channels, count, nullptr, out);
}

static void fold(const float* features, int channels, int exposures, int slot, int64_t count, float* out) {
  const int width = channels / exposures;
  const float share = 1.0f / exposures;
  for (int64_t p = 0; p < count; ++p) {
    const float* in = features + p * channels;
    float* to = out + p * channels + slot * width;
    for_channels(
        width, [&](int c, int n) __attribute__((always_inline)) {
          Vec total = load_some(in + c, n);
          for (int g = 1; g < exposures; ++g) total += load_some(in + g * width + c, n);
          store_some(to + c, total * share, n);
        });
  }
}

static void add(const float* a, const float* b, int64_t count, float* out) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(out + i, load(a + i) + load(b + i));
  for (; i < count; ++i) out[i] = a[i] + b[i];
}

}  // namespace smhdr::cpu::SMHDR_ISA
