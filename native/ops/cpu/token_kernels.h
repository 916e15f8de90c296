// What works on pixels alone: the exposure attention's two passes, LayerNorm by itself, folding and adding.
#pragma once

#include "ops/cpu/product.h"

namespace smhdr::cpu::SMHDR_ISA {

/// Floats of a pixel whose channels are padded to whole vectors.
SMHDR_INLINE int64_t padded_pitch(int channels) { return (channels + kLanes - 1) / kLanes * kLanes; }

template <int Whole>
SMHDR_INLINE void normalise_pixels_of(const float* x, NormWeights weights, int channels, int64_t count, float* out,
                                      int64_t pitch) {
  const float share = 1.0f / channels;
  for (int64_t first = 0; first < count; first += kLanes) {
    const int pixels = count - first < kLanes ? static_cast<int>(count - first) : kLanes;
    const auto pixel = [&](int i) __attribute__((always_inline)) {
      return x + (first + (i < pixels ? i : pixels - 1)) * channels;
    };
    Vec partial[kLanes];
    alignas(64) float means[kLanes], scales[kLanes];
    const auto across = [&]() __attribute__((always_inline)) {  // the sum over the lanes of every pixel's partial sum
      transpose(partial);
      Vec total = partial[0];
#pragma GCC unroll 16
      for (int i = 1; i < kLanes; ++i) total += partial[i];
      return total * share;
    };
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
      partial[i] = Vec{};
      for_channels<Whole>(
          channels, [&](int c, int n) __attribute__((always_inline)) { partial[i] += load_some(pixel(i) + c, n); });
    }
    store(means, across());
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
      const Vec mean = splat(means[i]);
      partial[i] = Vec{};
      for_channels<Whole>(
          channels, [&](int c, int n) __attribute__((always_inline)) {
            const Vec d = (n == kLanes ? load(pixel(i) + c) : load_part_or(pixel(i) + c, n, mean)) - mean;
            partial[i] += d * d;
          });
    }
    store(scales, 1.0f / square_root(across() + kNormEpsilon));
    for_channels<Whole>(
        channels, [&](int c, int n) __attribute__((always_inline)) {
          const Vec gain = load_some(weights.gain + c, n), bias = load_some(weights.bias + c, n);
          const int width = pitch == channels ? n : kLanes;
          for (int i = 0; i < pixels; ++i) {
            const Vec scale = splat(scales[i]) * gain;
            store_some(out + (first + i) * pitch + c, (load_some(pixel(i) + c, n) - splat(means[i])) * scale + bias,
                       width);
          }
        });
  }
}

/// LayerNorm of `count` pixels, kLanes of them at a time, to pixels of `pitch` floats: C, or padded_pitch(C) with zeros
/// beyond C.
static void normalise_pixels(const float* x, NormWeights weights, int channels, int64_t count, float* out,
                             int64_t pitch) {
  switch (channels / kLanes) {
    case 1:
      return normalise_pixels_of<1>(x, weights, channels, count, out, pitch);
    case 3:
      return normalise_pixels_of<3>(x, weights, channels, count, out, pitch);
    case 7:
      return normalise_pixels_of<7>(x, weights, channels, count, out, pitch);
    default:
      return normalise_pixels_of<-1>(x, weights, channels, count, out, pitch);
  }
}

static void layer_norm(const float* x, NormWeights weights, int channels, int64_t count, float* out) {
  normalise_pixels(x, weights, channels, count, out, channels);
}

// The Gram matrix is summed in floats over kGramTokens pixels, then in doubles.
constexpr int kGramTokens = 512;

static int64_t exposure_scratch(int channels) {
  const int64_t padded = padded_pitch(channels);
  const int64_t gram = 2 * kGramTokens * padded, mix = kTokens * (channels + room(channels));
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

/// gram += left z^T over `count` pixels, both with `padded` floats a pixel; of `upper` alone what is on the diagonal or
/// above it, and some of what is below.
template <bool upper = false>
SMHDR_INLINE void gram_block(const float* left, const float* z, int64_t padded, int count, int channels, double* gram) {
  for (int column = 0; column < channels; column += kLanes) {
    const int rows = upper && column + kLanes < channels ? column + kLanes : channels;
    int row = 0;
    for (; row < rows && row + 12 <= channels; row += 12)
      gram_rows<12>(left, z, padded, count, row, column, channels, gram);
    for (; row < rows && row + 4 <= channels; row += 4)
      gram_rows<4>(left, z, padded, count, row, column, channels, gram);
    for (; row < rows; ++row) gram_rows<1>(left, z, padded, count, row, column, channels, gram);
  }
}

static void exposure_gram(const float* x, NormWeights weights, int channels, int64_t count, double* gram,
                          float* scratch) {
  const int64_t padded = padded_pitch(channels);
  for (int64_t start = 0; start < count; start += kGramTokens) {
    const int tokens = static_cast<int>(count - start < kGramTokens ? count - start : kGramTokens);
    normalise_pixels(x + start * channels, weights, channels, tokens, scratch, padded);
    gram_block<true>(scratch, scratch, padded, tokens, channels, gram);
  }
  for (int row = 1; row < channels; ++row)
    for (int column = 0; column < row; ++column) gram[row * channels + column] = gram[column * channels + row];
}

template <typename Word>
static void exposure_mix(const float* x, NormWeights weights, const void* product, int channels, int count, float* out,
                         float* scratch) {
  float *tokens = scratch, *z = tokens + kTokens * channels;
  const TileScope tiles;
  gather_tokens(x, channels, count, tokens);
  const Word* words = normalise<Word>(tokens, weights, channels, z);
  linear(
      static_cast<const Word*>(product), words, channels / kWordRows<Word>,
      channels, [&](int o, int t, Vec sum) __attribute__((always_inline)) {
        store(tokens + o * kTokens + t, load(tokens + o * kTokens + t) + sum);
      });
  scatter_tokens(tokens, channels, count, nullptr, out);
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
