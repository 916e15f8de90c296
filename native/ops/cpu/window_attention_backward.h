// Backward of one 8x8 window: its forward again, then from the gradient of its scaled to that of its input.
#pragma once

#include "ops/cpu/backward.h"
#include "ops/cpu/window_attention.h"

namespace smhdr::cpu::SMHDR_ISA {

static int64_t attention_backward_scratch(const AttentionBackwardArgs& args) {
  const int channels = args.forward.x.channels, depth = channels / args.forward.weights.heads;
  const int64_t outer1 = outer_scratch(3 * channels, channels), words = kTokens * room(3 * channels),
                head = kTokens * (kTiled ? room(depth) : kTokens) + logits_spare(depth) + 2 * kTileWords;
  int64_t spare = outer1 > words ? outer1 : words;
  spare = spare > head ? spare : head;
  return kTokens * (12 * int64_t{channels} + room(channels) + room(depth) + (kTiled ? 4 : 2) * kTokens + 1) + spare;
}

/// logits' [key][query] gradient: v^T g, both [depth][64].
template <typename Word>
SMHDR_INLINE void attention_gradient(const float* v, const float* g, int depth, float* out,
                                     [[maybe_unused]] float* spare) {
#if defined(__AMX_BF16__)
  if constexpr (kWordRows<Word> == 2)
    return token_products(g, v, depth, nullptr, out, spare, spare + kTokens * room(depth));
#endif
  product(
      v, 1, kTokens, g, kTokens, depth,
      kTokens, [&](int key, int t, Vec sum) __attribute__((always_inline)) { store(out + key * kTokens + t, sum); });
}

/// One value a key and query, a left operand and a right one of later products: floats [key][query]; as words across
/// rows, [key / 2][query], and along them, [key][query / 2].
template <typename Word>
struct Square {
  float* values;
  Word *across, *along;

  /// Columns t to t + kColumns * kLanes of rows `row` and row + 1.
  SMHDR_MEMBER_INLINE void store_rows(int row, int t, const Vec* even, const Vec* odd) const {
    if constexpr (kWordRows<Word> == 1) {
      for (int v = 0; v < kColumns; ++v) {
        store(values + row * kTokens + t + v * kLanes, even[v]);
        store(values + (row + 1) * kTokens + t + v * kLanes, odd[v]);
      }
    } else {
      for (int v = 0; v < kColumns; ++v) store_pairs(across + row / 2 * kTokens + t + v * kLanes, even[v], odd[v]);
      for (int v = 0; v < kColumns; v += 2) {
        store_pairs_along(along + (row * kTokens + t + v * kLanes) / 2, even[v], even[v + 1]);
        store_pairs_along(along + ((row + 1) * kTokens + t + v * kLanes) / 2, odd[v], odd[v + 1]);
      }
    }
  }
};

/// out [depth][query] = scale * left [depth][key] times weights [key][query].
template <typename Word>
SMHDR_INLINE void weigh(const float* left, const Square<Word>& weights, int depth, float scale, float* out,
                        [[maybe_unused]] float* spare) {
  const auto keep = [&](int d, int t, Vec sum) __attribute__((always_inline)) {
    store(out + d * kTokens + t, sum * scale);
  };
  if constexpr (kWordRows<Word> == 1) {
    product(left, kTokens, 1, weights.values, kTokens, kTokens, depth, keep);
  } else {
    product_along(as_words_along<Word>(left, depth, spare), weights.across, depth, keep);
  }
}

/// out [depth][key] = scale * left [depth][query] times the transpose of weights [key][query].
template <typename Word>
SMHDR_INLINE void weigh_back(const float* left, const Square<Word>& weights, int depth, float scale, float* out,
                             float* spare) {
#if defined(__AMX_BF16__)
  if constexpr (kWordRows<Word> == 2) {
    // By key: the other operand is small to transpose, and so is the result.
    constexpr int words = kTokens / 2;
    Pair* right = reinterpret_cast<Pair*>(spare);
    alignas(64) float sums[kTokens * kTileSide];
    for (int first = 0; first < depth; first += kTileSide) {
      const int n = depth - first < kTileSide ? depth - first : kTileSide;
      transposed_words(left + first * kTokens, n, right, kTileSide);
      tile_load<4>(right, kTileSide);
      tile_load<5>(right + kTileWords, kTileSide);
      const auto keys = [&]<int Sum>() __attribute__((always_inline)) {
        const Pair* rows = weights.along + Sum * kTileSide * words;
        tile_zero<Sum>();
        tile_load<6>(rows, words);
        tile_multiply<Sum, 6, 4>();
        tile_load<7>(rows + kTileSide, words);
        tile_multiply<Sum, 7, 5>();
        tile_store<Sum>(sums + Sum * kTileSide * kTileSide, kTileSide);
      };
      keys.template operator()<0>();
      keys.template operator()<1>();
      keys.template operator()<2>();
      keys.template operator()<3>();
      for (int key = 0; key < kTokens; key += kLanes) {
        Vec v[kLanes];
        for (int i = 0; i < kLanes; ++i) v[i] = load(sums + (key + i) * kTileSide);
        transpose(v);
#pragma GCC unroll 16
        for (int d = 0; d < kLanes; ++d)
          if (d < n) store(out + (first + d) * kTokens + key, v[d] * scale);
      }
    }
    return;
  }
#endif
  to_token_major(weights.values, kTokens, spare);
  product(
      left, kTokens, 1, spare, kTokens, kTokens,
      depth, [&](int d, int t, Vec sum) __attribute__((always_inline)) { store(out + d * kTokens + t, sum * scale); });
}

template <typename Word>
static void attention_backward_window(const AttentionBackwardArgs& args, const AttentionPlan& plan, int b, int row,
                                      int column, float* scratch) {
  const AttentionArgs& f = args.forward;
  const AttentionGradients& out = args.gradients;
  const int channels = f.x.channels, heads = f.weights.heads, depth = channels / heads;
  float* next = scratch;
  const auto take = [&](int64_t rows) {
    float* block = next;
    next += rows * kTokens;
    return block;
  };
  float *x = take(channels), *y = take(channels), *tokens = take(room(channels)), *qkv = take(3 * channels),
        *mixed = take(channels), *grad = take(channels), *grad_mixed = take(channels), *grad_qkv = take(3 * channels),
        *grad_y = take(channels), *scaled = take(room(depth)), *attention = take(kTokens), *grad_logits = take(kTokens),
        *squares = take(kTiled ? 2 * kTokens : 0), *factors = take(1), *spare = next;
  const auto square = [&](float* values, int which) __attribute__((always_inline)) {
    Word* words = reinterpret_cast<Word*>(squares) + which * kTokens * kTokens;
    return Square<Word>{values, words, words + kTokens * kTokens / 2};
  };

  const TileScope tiles;
  const Window window(f, plan, b, row, column);
  window.gather(f.x.data, channels, x);
  window.gather(args.grad_out.data, channels, grad);
  const float keep = f.keep ? f.keep[b] : 1.0f;
  for (int i = 0; i < kTokens * channels; i += kLanes) store(grad + i, load(grad + i) * keep);
  normalise(x, f.weights.norm, channels, y);
  if (f.mask_mode != MaskMode::none) apply_mask(f, window, y, factors);
  const Word* words = as_words<Word>(y, channels, tokens);
  linear_back<Word>(
      f.weights.proj_weight, plan.proj_turned, grad, channels, channels,
      spare, [&](int o, int t, Vec sum) __attribute__((always_inline)) { store(grad_mixed + o * kTokens + t, sum); });

  const float natural = plan.logit_scale * 0.693147181f;  // 1 / sqrt(depth)
  for (int h = 0; h < heads; ++h) {
    const int64_t at = int64_t{h} * depth * kTokens, all = int64_t{channels} * kTokens;
    float *q = qkv + at, *k = q + all, *v = k + all, *grad_q = grad_qkv + at, *grad_k = grad_q + all,
          *grad_v = grad_k + all;
    const float *g = grad_mixed + at, *bias = plan.bias + int64_t{h} * kTokens * kTokens;
    linear_from(
        FromBias{plan.qkv_bias + h * 3 * depth}, static_cast<const Word*>(plan.qkv) + h * plan.words_a_head, words,
        channels / kWordRows<Word>, 3 * depth, [&](int o, int t, Vec sum) __attribute__((always_inline)) {
          const int which = o < depth ? 0 : o < 2 * depth ? 1 : 2;
          store(q + which * all + (o - which * depth) * kTokens + t, sum);
        });
    for (int i = 0; i < depth * kTokens; i += kLanes) store(scaled + i, load(q + i) * plan.logit_scale);
    head_logits<Word>(scaled, k, depth, bias, window.shift_mask, attention, spare);
    alignas(64) float inverse[kTokens];
    softmax<float>(attention, inverse);
    const Square<Word> weights = square(attention, 0), slopes = square(grad_logits, 1);
    attention_gradient<Word>(v, g, depth, grad_logits, spare);
    float* table = out.bias_table ? out.bias_table + int64_t{h} * kTokens * kTokens : nullptr;
    for (int t = 0; t < kTokens; t += kColumns * kLanes) {
      const auto row = [&](const float* from, int i, int c) __attribute__((always_inline)) {
        return load(from + i * kTokens + t + c * kLanes);
      };
      Vec along[kColumns] = {}, even[kColumns], odd[kColumns];
      for (int i = 0; i < kTokens; i += 2) {
        for (int c = 0; c < kColumns; ++c) {
          const Vec divide = load(inverse + t + c * kLanes);
          even[c] = row(attention, i, c) * divide;
          odd[c] = row(attention, i + 1, c) * divide;
          along[c] += even[c] * row(grad_logits, i, c);
          along[c] += odd[c] * row(grad_logits, i + 1, c);
          store(attention + i * kTokens + t + c * kLanes, even[c]);
          store(attention + (i + 1) * kTokens + t + c * kLanes, odd[c]);
        }
        if constexpr (kWordRows<Word> == 2) weights.store_rows(i, t, even, odd);
      }
      for (int i = 0; i < kTokens; i += 2) {
        for (int c = 0; c < kColumns; ++c) {
          even[c] = row(attention, i, c) * (row(grad_logits, i, c) - along[c]);
          odd[c] = row(attention, i + 1, c) * (row(grad_logits, i + 1, c) - along[c]);
          if (!table) continue;
          float* to = table + i * kTokens + t + c * kLanes;
          store(to, load(to) + even[c]);
          store(to + kTokens, load(to + kTokens) + odd[c]);
        }
        slopes.store_rows(i, t, even, odd);
      }
    }
    if (out.proj_weight) weigh(v, weights, depth, 1, mixed + at, spare);
    weigh(k, slopes, depth, natural, grad_q, spare);
    weigh_back(q, slopes, depth, natural, grad_k, spare);
    weigh_back(g, weights, depth, 1, grad_v, spare);
  }
  linear_back<Word>(
      f.weights.qkv_weight, plan.qkv_turned, grad_qkv, 3 * channels, channels,
      spare, [&](int o, int t, Vec sum) __attribute__((always_inline)) { store(grad_y + o * kTokens + t, sum); });
  if (out.proj_weight) outer<Word>(grad, channels, mixed, channels, out.proj_weight, spare);
  if (out.proj_bias) sum_tokens(grad, channels, out.proj_bias);
  if (out.qkv_weight) outer<Word>(grad_qkv, 3 * channels, y, channels, out.qkv_weight, spare);
  if (out.qkv_bias) sum_tokens(grad_qkv, 3 * channels, out.qkv_bias);

  if (f.mask_mode != MaskMode::none) {
    for (int t = 0; t < kTokens; t += kLanes) {
      const Vec factor = load(factors + t);
      Vec through{};
      if (f.mask_mode == MaskMode::importance) {  // y holds factor * norm(x): divide it out (a sigmoid is never 0)
        for (int c = 0; c < channels; ++c) through += load(grad_y + c * kTokens + t) * load(y + c * kTokens + t);
        through *= (1.0f - factor) * (1.0f / channels);
      }
      for (int c = 0; c < channels; ++c)
        store(grad_y + c * kTokens + t, load(grad_y + c * kTokens + t) * factor + through);
    }
  }
  normalise_backward(x, f.weights.norm, channels, grad_y, out.norm.gain, out.norm.bias);
  each_token(
      grad_y, channels, kTokens, [&](int t, int c, Vec value, int n) __attribute__((always_inline)) {
        const int64_t to = window.place[t] * channels + c;
        store_some(args.grad_x.data + to, value + load_some(args.grad_out.data + to, n), n);
      });
}

}  // namespace smhdr::cpu::SMHDR_ISA
