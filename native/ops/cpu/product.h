// The matrix product everything rests on, with 64 tokens side by side in the vectors: out[o][t] = sum_k w[o][k]
// x[k][t]. Tokens in the lanes leave no padding for any width or head size, read weights in their published layout, and
// turn softmax and LayerNorm into vertical operations.
#pragma once

#include "ops/cpu/kernels.h"
#include "ops/cpu/vector.h"

namespace smhdr::cpu::SMHDR_ISA {

/// One register block: R outputs by kColumns vectors. Strides: w_row between outputs, w_step and x_step between k.
template <int R, typename Epilogue>
SMHDR_INLINE void product_block(const float* w, int64_t w_row, int64_t w_step, const float* x, int64_t x_step,
                                int depth, int output, int column, Epilogue epilogue) {
  Vec sums[R][kColumns];
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < kColumns; ++v) sums[r][v] = Vec{};
  for (int k = 0; k < depth; ++k) {
    Vec in[kColumns];
    for (int v = 0; v < kColumns; ++v) in[v] = load(x + k * x_step + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const Vec weight = splat(w[r * w_row + k * w_step]);
#pragma GCC unroll 8
      for (int v = 0; v < kColumns; ++v) sums[r][v] += weight * in[v];
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
template <typename Epilogue>
SMHDR_INLINE void product(const float* w, int64_t w_row, int64_t w_step, const float* x, int64_t x_step, int depth,
                          int outputs, Epilogue epilogue, int columns = kTokens) {
  for (int o = 0; o < outputs;) {
    // Spread a remainder over the last blocks: 10 outputs are 5 + 5, not 6 + 4.
    const int left = outputs - o, blocks = (left + kRows - 1) / kRows, rows = (left + blocks - 1) / blocks;
    product_rows(
        rows, [&]<int R>() __attribute__((always_inline)) {
          for (int t = 0; t < columns; t += kColumns * kLanes)
            product_block<R>(w + o * w_row, w_row, w_step, x + t, x_step, depth, o, t, epilogue);
        });
    o += rows;
  }
}

/// Linear layer over 64 tokens: x [in][64], weight [out, in].
template <typename Epilogue>
SMHDR_INLINE void linear(const float* weight, const float* x, int in, int out, Epilogue epilogue) {
  product(weight, in, 1, x, kTokens, in, out, epilogue);
}

/// Four 4-vectors transposed: rows of `from` (4 floats each) to rows of `to`.
SMHDR_INLINE void transpose4(const float* f0, const float* f1, const float* f2, const float* f3, float* to,
                             int64_t to_row) {
  typedef float V4 __attribute__((vector_size(16)));
  typedef float V4Any __attribute__((vector_size(16), aligned(4), may_alias));
  const V4 a = *reinterpret_cast<const V4Any*>(f0), b = *reinterpret_cast<const V4Any*>(f1),
           c = *reinterpret_cast<const V4Any*>(f2), d = *reinterpret_cast<const V4Any*>(f3);
  const V4 ab0 = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab1 = __builtin_shufflevector(a, b, 2, 6, 3, 7),
           cd0 = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd1 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  *reinterpret_cast<V4Any*>(to) = __builtin_shufflevector(ab0, cd0, 0, 1, 4, 5);
  *reinterpret_cast<V4Any*>(to + to_row) = __builtin_shufflevector(ab0, cd0, 2, 3, 6, 7);
  *reinterpret_cast<V4Any*>(to + 2 * to_row) = __builtin_shufflevector(ab1, cd1, 0, 1, 4, 5);
  *reinterpret_cast<V4Any*>(to + 3 * to_row) = __builtin_shufflevector(ab1, cd1, 2, 3, 6, 7);
}

/// tokens[t] points at C floats, t in multiples of 4 up to `count` -> to [C][to_row].
SMHDR_INLINE void to_channel_major(const float* const* tokens, int count, int channels, float* to, int64_t to_row) {
  for (int t = 0; t < count; t += 4) {
    int c = 0;
    for (; c + 4 <= channels; c += 4)
      transpose4(tokens[t] + c, tokens[t + 1] + c, tokens[t + 2] + c, tokens[t + 3] + c, to + c * to_row + t, to_row);
    for (; c < channels; ++c)
      for (int i = 0; i < 4; ++i) to[c * to_row + t + i] = tokens[t + i][c];
  }
}

/// from [C][64] -> to [64][C].
SMHDR_INLINE void to_token_major(const float* from, int channels, float* to) {
  int c = 0;
  for (; c + 4 <= channels; c += 4)
    for (int t = 0; t < kTokens; t += 4)
      transpose4(from + c * kTokens + t, from + (c + 1) * kTokens + t, from + (c + 2) * kTokens + t,
                 from + (c + 3) * kTokens + t, to + t * channels + c, channels);
  for (; c < channels; ++c)
    for (int t = 0; t < kTokens; ++t) to[t * channels + c] = from[c * kTokens + t];
}

/// Columns of a token-major operand of `outer`, padded to whole register blocks.
SMHDR_INLINE int padded_columns(int columns) {
  constexpr int block = kColumns * kLanes;
  return (columns + block - 1) / block * block;
}

/// from [C][64] -> to [64][padded_columns(C)], the padding zero.
SMHDR_INLINE void to_padded_tokens(const float* from, int channels, float* to) {
  const int stride = padded_columns(channels);
  int c = 0;
  for (; c + 4 <= channels; c += 4)
    for (int t = 0; t < kTokens; t += 4)
      transpose4(from + c * kTokens + t, from + (c + 1) * kTokens + t, from + (c + 2) * kTokens + t,
                 from + (c + 3) * kTokens + t, to + t * stride + c, stride);
  for (; c < stride; ++c)
    for (int t = 0; t < kTokens; ++t) to[t * stride + c] = c < channels ? from[c * kTokens + t] : 0.0f;
}

/// sums [rows][columns] += left right^T over 64 tokens: left [rows][64], right token-major with `stride` floats a
/// token.
SMHDR_INLINE void outer(const float* left, int rows, const float* right, int64_t stride, int columns, float* sums) {
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

/// sums [rows] += left [rows][64] summed over the tokens.
SMHDR_INLINE void sum_tokens(const float* left, int rows, float* sums) {
  for (int row = 0; row < rows; ++row) {
    Vec total{};
    for (int t = 0; t < kTokens; t += kLanes) total += load(left + row * kTokens + t);
    sums[row] += sum(total);
  }
}

/// LayerNorm over the channels of 64 tokens, in place on x [C][64].
SMHDR_INLINE void normalise(float* x, NormWeights weights, int channels) {
  for (int t = 0; t < kTokens; t += kLanes) {
    Vec mean{}, variance{};
    for (int c = 0; c < channels; ++c) mean += load(x + c * kTokens + t);
    mean *= 1.0f / channels;
    for (int c = 0; c < channels; ++c) {
      const Vec d = load(x + c * kTokens + t) - mean;
      variance += d * d;
    }
    const Vec scale = 1.0f / square_root(variance * (1.0f / channels) + kNormEpsilon);
    for (int c = 0; c < channels; ++c)
      store(x + c * kTokens + t, (load(x + c * kTokens + t) - mean) * scale * weights.gain[c] + weights.bias[c]);
  }
}

/// Backward of `normalise`: x [C][64] is its input and becomes the normalised value; grad [C][64] becomes that of x.
/// gain and bias gradients are added to where not null.
SMHDR_INLINE void normalise_backward(float* x, NormWeights weights, int channels, float* grad, float* grad_gain,
                                     float* grad_bias) {
  const float share = 1.0f / channels;
  for (int t = 0; t < kTokens; t += kLanes) {
    Vec mean{}, variance{};
    for (int c = 0; c < channels; ++c) mean += load(x + c * kTokens + t);
    mean *= share;
    for (int c = 0; c < channels; ++c) {
      const Vec d = load(x + c * kTokens + t) - mean;
      variance += d * d;
    }
    const Vec scale = 1.0f / square_root(variance * share + kNormEpsilon);
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
