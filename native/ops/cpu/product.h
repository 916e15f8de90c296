// The matrix product everything rests on, with 64 tokens side by side in the vectors: out[o][t] = sum_k w[o][k]
// x[k][t]. Tokens in the lanes leave no padding for any width or head size, read weights in their published layout, and
// turn softmax and LayerNorm into vertical operations.
#pragma once

#include "ops/cpu/tiles.h"

namespace smhdr::cpu::SMHDR_ISA {

/// One register block: R outputs by kColumns vectors. Strides, in words: w_row between outputs, w_step and x_step
/// between k. start(output, column) gives what a sum begins with.
template <int R, typename Word, typename Start, typename Epilogue>
SMHDR_INLINE void product_block(const Word* w, int64_t w_row, int64_t w_step, const Word* x, int64_t x_step, int depth,
                                int output, int column, Start start, Epilogue epilogue) {
  Vec sums[R][kColumns];
  empty_registers();
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kColumns; ++v) sums[r][v] = start(output + r, column + v * kLanes);
  for (int k = 0; k < depth; ++k) {
    decltype(load(x)) in[kColumns];
    for (int v = 0; v < kColumns; ++v) in[v] = load(x + k * x_step + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const Word weight = w[r * w_row + k * w_step];
#pragma GCC unroll 8
      for (int v = 0; v < kColumns; ++v) sums[r][v] = multiply_add(sums[r][v], weight, in[v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kColumns; ++v) epilogue(output + r, column + v * kLanes, sums[r][v]);
}

template <typename Block>
SMHDR_INLINE void product_rows(int rows, Block block) {
  switch (rows) {
    case 1:
      return block.template operator()<1>();
    case 2:
      return block.template operator()<2>();
    case 3:
      return block.template operator()<3>();
    case 4:
      return block.template operator()<4>();
    case 5:
      return block.template operator()<5>();
    default:
      return block.template operator()<6>();
  }
}

/// epilogue(output, column, sum) gets every output and every kLanes of `columns`, a multiple of kColumns * kLanes.
template <typename Word, typename Start, typename Epilogue>
SMHDR_INLINE void product_from(Start start, const Word* w, int64_t w_row, int64_t w_step, const Word* x, int64_t x_step,
                               int depth, int outputs, Epilogue epilogue, int columns = kTokens) {
  for (int o = 0; o < outputs;) {
    // Spread a remainder over the last blocks: 10 outputs are 5 + 5, not 6 + 4.
    const int left = outputs - o, blocks = (left + kRows - 1) / kRows, rows = (left + blocks - 1) / blocks;
    product_rows(
        rows, [&]<int R>() __attribute__((always_inline)) {
          for (int t = 0; t < columns; t += kColumns * kLanes)
            product_block<R>(w + o * w_row, w_row, w_step, x + t, x_step, depth, o, t, start, epilogue);
        });
    o += rows;
  }
}

struct FromZero {
  SMHDR_MEMBER_INLINE Vec operator()(int, int) const { return Vec{}; }
};
/// Sums begin with their output's bias.
struct FromBias {
  const float* bias;
  SMHDR_MEMBER_INLINE Vec operator()(int output, int) const { return splat(bias[output]); }
};

template <typename Word, typename Epilogue>
SMHDR_INLINE void product(const Word* w, int64_t w_row, int64_t w_step, const Word* x, int64_t x_step, int depth,
                          int outputs, Epilogue epilogue, int columns = kTokens) {
  product_from(FromZero{}, w, w_row, w_step, x, x_step, depth, outputs, epilogue, columns);
}

/// Linear layer over 64 tokens: x [in][64], weight [out, in] as Kernels::pack left it; both in words of `depth` = in /
/// kWordRows.
template <typename Word, typename Start, typename Epilogue>
SMHDR_INLINE void linear_from(Start start, const Word* weight, const Word* x, int depth, int out, Epilogue epilogue) {
  if constexpr (kTiled && kWordRows<Word> == 2) {
    const int tiles = tile_depth(depth);
    tile_product(
        {weight, kTileSide, kTileWords}, int64_t{tiles} * kTileWords, x, tiles,
        out, [&](int o, int t, Vec sum) __attribute__((always_inline)) { epilogue(o, t, sum + start(o, t)); });
  } else {
    product_from(start, weight, depth, 1, x, kTokens, depth, out, epilogue);
  }
}
template <typename Word, typename Epilogue>
SMHDR_INLINE void linear(const Word* weight, const Word* x, int depth, int out, Epilogue epilogue) {
  linear_from(FromZero{}, weight, x, depth, out, epilogue);
}

/// The same with f of the sums, as words in `to`, which needs room(out) rows.
template <typename Word, typename F>
SMHDR_INLINE const Word* linear_words(const float* bias, const Word* weight, const Word* x, int depth, int out,
                                      float* to, F f) {
#if defined(__AMX_BF16__)
  if constexpr (kWordRows<Word> == 2) {
    const int tiles = tile_depth(depth);
    tile_blocks(
        {weight, kTileSide, kTileWords}, int64_t{tiles} * kTileWords, x, kTokens, tiles,
        out, [&](int o, int rows, const float* sums) __attribute__((always_inline)) {
          for (int r = 0; r < rows; r += 2)
            for (int t = 0; t < kTokens; t += kLanes) {
              const float* at = sums + r * kTokens + t;
              store_pairs(reinterpret_cast<Pair*>(to) + (o + r) / 2 * kTokens + t, f(load(at) + bias[o + r]),
                          f(load(at + kTokens) + bias[o + r + 1]));
            }
        });
    return fill_tiles<Word>(to, out);
  }
#endif
  linear_from(
      FromBias{bias}, weight, x, depth,
      out, [&](int o, int t, Vec sum) __attribute__((always_inline)) { store(to + o * kTokens + t, sum); });
  return map_rows<Word>(
      to, out, [&](int, int, Vec v) __attribute__((always_inline)) { return f(v); });
}

/// left [outputs][64] times x [64][64], both in words along and across its rows (as_words_along, as_words).
template <typename Word, typename Epilogue>
SMHDR_INLINE void product_along(const Word* left, const Word* x, int outputs, Epilogue epilogue) {
  constexpr int depth = kTokens / kWordRows<Word>;
  if constexpr (kTiled && kWordRows<Word> == 2)
    tile_product({left, depth, kTileSide}, kTileSide * depth, x, depth / kTileSide, outputs, epilogue);
  else
    product(left, depth, 1, x, kTokens, depth, outputs, epilogue);
}

/// weight [in, out] turned times x [in][64], both fp32; `packed`: the turned weight as Kernels::pack left it. x goes as
/// words into `spare`, room(in) rows.
template <typename Word, typename Epilogue>
SMHDR_INLINE void linear_back(const float* weight, [[maybe_unused]] const void* packed, const float* x, int in, int out,
                              [[maybe_unused]] float* spare, Epilogue epilogue) {
  if constexpr (kWordRows<Word> == 1)
    product(weight, 1, out, x, kTokens, in, out, epilogue);
  else
    linear(static_cast<const Word*>(packed), as_words<Word>(x, in, spare), in / 2, out, epilogue);
}

/// sums [rows][columns] += left right^T over 64 tokens: left [rows][64], right token-major with `stride` floats a
/// token.
SMHDR_INLINE void outer_tokens(const float* left, int rows, const float* right, int64_t stride, int columns,
                               float* sums) {
  product(
      left, kTokens, 1, right, stride, kTokens, rows,
      [&](int row, int column, Vec sum) __attribute__((always_inline)) {
        const int n = columns - column < kLanes ? columns - column : kLanes;
        if (n <= 0) return;
        float* to = sums + int64_t{row} * columns + column;
        store_some(to, load_some(to, n) + sum, n);
      },
      padded_columns(columns));
}

/// Floats that `outer` needs.
SMHDR_INLINE int64_t outer_scratch(int rows, int columns) {
  return kTiled ? int64_t{kTokens} / 2 * (rows + kTileSide + padded_columns(columns))
                : int64_t{kTokens} * padded_columns(columns);
}
/// sums [rows][columns] += left right^T, left [rows][64] and right [columns][64].
template <typename Word>
SMHDR_INLINE void outer(const float* left, int rows, const float* right, int columns, float* sums, float* spare) {
#if defined(__AMX_BF16__)
  if constexpr (kWordRows<Word> == 2) {
    constexpr int depth = kTokens / 2;
    const Pair* along = as_words_along<Pair>(left, rows, spare);
    Pair* across = reinterpret_cast<Pair*>(spare) + depth * (rows + kTileSide);
    const int row = padded_columns(columns);
    transposed_words(right, columns, across, row);
    for (int first = 0; first < columns; first += kTokens)
      tile_blocks(
          {along, depth, kTileSide}, kTileSide * depth, across + first, row, depth / kTileSide,
          rows, [&](int o, int count, const float* block) __attribute__((always_inline)) {
            add_tile_sums(block, count, first, columns, sums + int64_t{o} * columns);
          });
    return;
  }
#endif
  to_padded_tokens(right, columns, spare);
  outer_tokens(left, rows, spare, padded_columns(columns), columns, sums);
}

/// sums [rows] += left [rows][64] summed over the tokens.
SMHDR_INLINE void sum_tokens(const float* left, int rows, float* sums) {
  for (int row = 0; row < rows; ++row) {
    Vec total{};
    for (int t = 0; t < kTokens; t += kLanes) total += load(left + row * kTokens + t);
    sums[row] += sum(total);
  }
}

/// Mean and 1 / deviation over the channels of kLanes tokens of x [C][64]. Four sums run beside each other.
SMHDR_INLINE void statistics(const float* x, int channels, Vec& mean, Vec& scale) {
  Vec sums[4] = {}, squares[4] = {};
  int c = 0;
  for (; c + 4 <= channels; c += 4)
    for (int i = 0; i < 4; ++i) sums[i] += load(x + (c + i) * kTokens);
  for (; c < channels; ++c) sums[0] += load(x + c * kTokens);
  mean = (sums[0] + sums[1] + (sums[2] + sums[3])) * (1.0f / channels);
  for (c = 0; c + 4 <= channels; c += 4)
    for (int i = 0; i < 4; ++i) {
      const Vec d = load(x + (c + i) * kTokens) - mean;
      squares[i] += d * d;
    }
  for (; c < channels; ++c) {
    const Vec d = load(x + c * kTokens) - mean;
    squares[0] += d * d;
  }
  const Vec variance = (squares[0] + squares[1] + (squares[2] + squares[3])) * (1.0f / channels);
  scale = 1.0f / square_root(variance + kNormEpsilon);
}

/// LayerNorm over the channels of 64 tokens: x [C][64] to words in `out`, which may be x.
template <typename Word = float>
SMHDR_INLINE const Word* normalise(const float* x, NormWeights weights, int channels, float* out) {
  for (int t = 0; t < kTokens; t += kLanes) {
    Vec mean, scale;
    statistics(x + t, channels, mean, scale);
    const auto value = [&](int c) __attribute__((always_inline)) {
      return (load(x + c * kTokens + t) - mean) * scale * weights.gain[c] + weights.bias[c];
    };
    store_column<Word>(out, channels, t, value);
  }
  return fill_tiles<Word>(out, channels);
}

/// Backward of `normalise`: x [C][64] is its input and becomes the normalised value; grad [C][64] becomes that of x.
/// gain and bias gradients are added to where not null.
SMHDR_INLINE void normalise_backward(float* x, NormWeights weights, int channels, float* grad, float* grad_gain,
                                     float* grad_bias) {
  const float share = 1.0f / channels;
  for (int t = 0; t < kTokens; t += kLanes) {
    Vec mean, scale;
    statistics(x + t, channels, mean, scale);
    Vec slope_mean{}, slope_along{};
    for (int c = 0; c < channels; ++c) {
      const Vec normalised = (load(x + c * kTokens + t) - mean) * scale, g = load(grad + c * kTokens + t),
                slope = g * weights.gain[c];
      store(x + c * kTokens + t, normalised);
      slope_mean += slope;
      slope_along += slope * normalised;
      if (grad_gain) grad_gain[c] += sum(g * normalised);
      if (grad_bias) grad_bias[c] += sum(g);
    }
    slope_mean *= share;
    slope_along *= share;
    for (int c = 0; c < channels; ++c)
      store(grad + c * kTokens + t, scale * (load(grad + c * kTokens + t) * weights.gain[c] - slope_mean -
                                             load(x + c * kTokens + t) * slope_along));
  }
}

}  // namespace smhdr::cpu::SMHDR_ISA
