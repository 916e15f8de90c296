// 3x3 convolution of an 8-row, 64-column tile. Three rows of the input lie channel-major in a ring; a tap is an offset
// into them, so no im2col is built.
#pragma once

#include "ops/cpu/product.h"

namespace smhdr::cpu::SMHDR_ISA {

constexpr int kLead = 16;                      // the tile's first column starts here, so that the middle tap is aligned
constexpr int kStride = kLead + kTokens + 16;  // floats of one channel of one row

static int64_t convolution_scratch(const ConvolutionArgs& args) {
  return int64_t{4} * args.x.channels * kStride + int64_t{kTokens} * args.out.channels;
}

/// Row y of the tile's columns with one more on either side, channel-major; padding made real.
static void convolution_row(const ConvolutionArgs& args, int b, int y, int x0, float* to) {
  const int height = args.x.height, width = args.x.width, channels = args.x.channels;
  const bool reflect = args.padding == Padding::reflect;
  if (y < 0 || y >= height) {
    if (!reflect) {
      for (int64_t i = 0; i < int64_t{channels} * kStride; ++i) to[i] = 0;
      return;
    }
    y = height == 1 ? 0 : y < 0 ? -y : 2 * (height - 1) - y;
  }
  const float* row = args.x.at(b, y, 0);
  const int count = width - x0 < kTokens ? width - x0 : kTokens;
  const float* tokens[kTokens];
  for (int t = 0; t < kTokens; ++t) tokens[t] = row + int64_t{x0 + (t < count ? t : count - 1)} * channels;
  to_channel_major(tokens, kTokens, channels, to + kLead, kStride);
  for (int side : {-1, count}) {
    int x = x0 + side;
    const bool outside = x < 0 || x >= width;
    if (outside && reflect) x = width == 1 ? 0 : x < 0 ? -x : 2 * (width - 1) - x;
    for (int c = 0; c < channels; ++c)
      to[c * kStride + kLead + side] = outside && !reflect ? 0.0f : row[int64_t{x} * channels + c];
  }
}

/// weight: words [out][in][9], rows: words [in][kStride].
template <int R, typename Word, typename Epilogue>
SMHDR_INLINE void convolution_block(const Word* weight, const float* bias, const Word* const rows[3], int in,
                                    int output, int column, Epilogue epilogue) {
  Vec sums[R][kColumns];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < kColumns; ++v) sums[r][v] = splat(bias[r]);
  const int64_t w_row = int64_t{in} * 9;
  for (int i = 0; i < in; ++i)
    for (int ky = 0; ky < 3; ++ky) {
      const Word* x = rows[ky] + i * kStride + kLead - 1 + column;
      const Word* w = weight + i * 9 + ky * 3;
#pragma GCC unroll 3
      for (int kx = 0; kx < 3; ++kx) {
        decltype(load(x)) values[kColumns];
        for (int v = 0; v < kColumns; ++v) values[v] = load(x + kx + v * kLanes);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
          const Word tap = w[r * w_row + kx];
#pragma GCC unroll 8
          for (int v = 0; v < kColumns; ++v) sums[r][v] = multiply_add(sums[r][v], tap, values[v]);
        }
      }
    }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kColumns; ++v) epilogue(output + r, column + v * kLanes, sums[r][v]);
}

template <typename Word>
static void convolution_tile(const ConvolutionArgs& args, const void* plan, int b, int y0, int x0, float* scratch) {
  const int height = args.x.height, width = args.x.width, in = args.x.channels, out = args.out.channels;
  const int count = width - x0 < kTokens ? width - x0 : kTokens, words = in / kWordRows<Word>;
  const int64_t plane = int64_t{in} * kStride;
  float *spare = scratch + 3 * plane, *sums = spare + plane;
  const auto ring = [&](int y) { return reinterpret_cast<Word*>(scratch + (y + 3) % 3 * plane); };
  const auto prepare = [&](int y) {
    if constexpr (kWordRows<Word> == 1) {
      convolution_row(args, b, y, x0, ring(y));
    } else {
      convolution_row(args, b, y, x0, spare);
      for (int i = 0; i < words; ++i)
        for (int t = 0; t < kStride; t += kLanes)
          store_pairs(ring(y) + i * kStride + t, load(spare + 2 * i * kStride + t),
                      load(spare + (2 * i + 1) * kStride + t));
    }
  };
  const Word* weight = static_cast<const Word*>(plan);
  prepare(y0 - 1);
  prepare(y0);
  for (int y = y0; y < y0 + kTileRows && y < height; ++y) {
    prepare(y + 1);
    const Word* const rows[3] = {ring(y - 1), ring(y), ring(y + 1)};
    const auto keep = [&](int o, int t, Vec sum)
        __attribute__((always_inline)) { store(sums + o * kTokens + t, sum); };
    for (int o = 0; o < out;) {
      const int left = out - o, blocks = (left + kRows - 1) / kRows, r = (left + blocks - 1) / blocks;
      product_rows(
          r, [&]<int R>() __attribute__((always_inline)) {
            for (int t = 0; t < count; t += kColumns * kLanes)
              convolution_block<R>(weight + int64_t{o} * words * 9, args.bias + o, rows, words, o, t, keep);
          });
      o += r;
    }
    const int64_t offset = args.out.at(b, y, x0) - args.out.data;
    each_token(
        sums, out, count, [&](int t, int c, Vec value, int n) __attribute__((always_inline)) {
          const int64_t at = offset + int64_t{t} * out + c;
          if (args.add) value += load_some(args.add + at, n);
          store_some(args.out.data + at, args.sigmoid ? sigmoid(value) : value, n);
        });
  }
}

}  // namespace smhdr::cpu::SMHDR_ISA
