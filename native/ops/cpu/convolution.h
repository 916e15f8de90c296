// Convolution of an 8-row, 64-column tile. As many rows of the input as the kernel is high lie channel-major in a ring;
// a tap is an offset into them, so no im2col is built.
#pragma once

#include "ops/cpu/product.h"

namespace smhdr::cpu::SMHDR_ISA {

constexpr int kLead = 16;                      // the tile's first column starts here, so that the middle tap is aligned
constexpr int kStride = kLead + kTokens + 16;  // floats of one channel of one row

static int64_t convolution_scratch(const ConvolutionArgs& args) {
  const int64_t out = (args.out.channels + kTileSide - 1) / kTileSide * kTileSide;
  return (args.kernel + 1) * room(args.x.channels) * kStride + kTokens * out;
}

SMHDR_INLINE int mirrored(int at, int length) {
  if (length == 1) return 0;
  while (at < 0 || at >= length) at = at < 0 ? -at : 2 * (length - 1) - at;
  return at;
}

/// Row y of the tile's columns with `radius` more on either side, channel-major; padding made real.
static void convolution_row(const ConvolutionArgs& args, int b, int y, int x0, int radius, float* to) {
  const int height = args.x.height, width = args.x.width, channels = args.x.channels;
  const bool reflect = args.padding == Padding::reflect;
  if (y < 0 || y >= height) {
    if (!reflect) {
      for (int64_t i = 0; i < int64_t{channels} * kStride; ++i) to[i] = 0;
      return;
    }
    y = mirrored(y, height);
  }
  const float* row = args.x.at(b, y, 0);
  const int count = width - x0 < kTokens ? width - x0 : kTokens;
  const float* tokens[kTokens];
  for (int t = 0; t < kTokens; ++t) tokens[t] = row + int64_t{x0 + (t < count ? t : count - 1)} * channels;
  to_channel_major(tokens, kTokens, channels, to + kLead, kStride);
  for (int i = 0; i < 2 * radius; ++i) {
    const int side = i < radius ? i - radius : count + i - radius;
    int x = x0 + side;
    const bool outside = x < 0 || x >= width;
    if (outside && reflect) x = mirrored(x, width);
    for (int c = 0; c < channels; ++c)
      to[c * kStride + kLead + side] = outside && !reflect ? 0.0f : row[int64_t{x} * channels + c];
  }
}

/// weight: words [out][in][K * K], rows: words [in][kStride].
template <int K, int R, typename Word, typename Epilogue>
SMHDR_INLINE void convolution_block(const Word* weight, const float* bias, const Word* const rows[K], int in,
                                    int output, int column, Epilogue epilogue) {
  Vec sums[R][kColumns];
  empty_registers();
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < kColumns; ++v) sums[r][v] = splat(bias[r]);
  const int64_t w_row = int64_t{in} * K * K;
  for (int i = 0; i < in; ++i)
    for (int ky = 0; ky < K; ++ky) {
      const Word* x = rows[ky] + i * kStride + kLead - K / 2 + column;
      const Word* w = weight + (i * K + ky) * K;
#pragma GCC unroll 3
      for (int kx = 0; kx < K; ++kx) {
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

template <int K, typename Word>
static void convolution_tile_of(const ConvolutionArgs& args, const void* plan, int b, int y0, int x0, float* scratch) {
  const int height = args.x.height, width = args.x.width, in = args.x.channels, out = args.out.channels;
  const int count = width - x0 < kTokens ? width - x0 : kTokens, words = in / kWordRows<Word>;
  const int64_t plane = room(in) * kStride, pitch = args.out_pitch ? args.out_pitch : out;
  float *spare = scratch + K * plane, *sums = spare + plane;
  const auto ring = [&](int y) { return reinterpret_cast<Word*>(scratch + (y + K) % K * plane); };
  const auto prepare = [&](int y) {
    if constexpr (kWordRows<Word> == 1) {
      convolution_row(args, b, y, x0, K / 2, ring(y));
    } else {
      convolution_row(args, b, y, x0, K / 2, spare);
      for (int i = 0; i < words; ++i)
        for (int t = 0; t < kStride; t += kLanes)
          store_pairs(ring(y) + i * kStride + t, load(spare + 2 * i * kStride + t),
                      load(spare + (2 * i + 1) * kStride + t));
      fill_tiles<Word>(reinterpret_cast<float*>(ring(y)), in, kStride);
    }
  };
  const TileScope tiles;
  const Word* weight = static_cast<const Word*>(plan);
  for (int y = y0 - K / 2; y < y0 + K / 2; ++y) prepare(y);
  for (int y = y0; y < y0 + kTileRows && y < height; ++y) {
    prepare(y + K / 2);
    const Word* rows[K];
    for (int ky = 0; ky < K; ++ky) rows[ky] = ring(y + ky - K / 2);
    const auto keep = [&](int o, int t, Vec sum) __attribute__((always_inline)) { store(sums + o * kTokens + t, sum); };
#if defined(__AMX_BF16__)
    static_assert(kWordRows<Word> == 2);  // fp32 is another set's
    const int depth = tile_depth(words);
    for (int o = 0; o < out; o += kTileSide) {
      const Word* tile = weight + o / kTileSide * K * K * depth * kTileWords;
      tile_zero_sums();
      for (int tap = 0; tap < K * K; ++tap, tile += depth * kTileWords)
        tile_add_products({tile, kTileSide, kTileWords}, rows[tap / K] + kLead - K / 2 + tap % K, kStride, depth);
      tile_store_sums(sums + o * kTokens, kTokens);
      const int n = out - o < kTileSide ? out - o : kTileSide;
      for (int i = o; i < o + n; ++i)
        for (int t = 0; t < kTokens; t += kLanes) keep(i, t, load(sums + i * kTokens + t) + splat(args.bias[i]));
    }
#else
    for (int o = 0; o < out;) {
      const int left = out - o, blocks = (left + kRows - 1) / kRows, r = (left + blocks - 1) / blocks;
      product_rows(
          r, [&]<int R>() __attribute__((always_inline)) {
            for (int t = 0; t < count; t += kColumns * kLanes)
              convolution_block<K, R>(weight + int64_t{o} * words * K * K, args.bias + o, rows, words, o, t, keep);
          });
      o += r;
    }
#endif
    const int64_t first = (int64_t{b} * height + y) * width + x0;
    each_token(
        sums, out, count, [&](int t, int c, Vec value, int n) __attribute__((always_inline)) {
          if (args.add) value += load_some(args.add + (first + t) * out + c, n);
          store_some(args.out.data + (first + t) * pitch + c, args.sigmoid ? sigmoid(value) : value, n);
        });
  }
}

template <typename Word>
static void convolution_tile(const ConvolutionArgs& args, const void* plan, int b, int y0, int x0, float* scratch) {
  if constexpr (kWordRows<Word> == 1) switch (args.kernel) {
      case 5:
        return convolution_tile_of<5, Word>(args, plan, b, y0, x0, scratch);
      case 7:
        return convolution_tile_of<7, Word>(args, plan, b, y0, x0, scratch);
      case 11:
        return convolution_tile_of<11, Word>(args, plan, b, y0, x0, scratch);
      default:
        break;
    }
  convolution_tile_of<3, Word>(args, plan, b, y0, x0, scratch);
}

}  // namespace smhdr::cpu::SMHDR_ISA
