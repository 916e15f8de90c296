// One 8x8 window from its pixels to its pixels while it stays in cache: normalise, mask, q k v, attention with bias and
// shift mask, projection, residual.
#pragma once

#include "ops/cpu/product.h"

namespace smhdr::cpu::SMHDR_ISA {

/// Where a window's tokens lie in the image. Runs of four tokens never wrap: the shift is 4 and sizes are multiples of
/// 8.
struct Window {
  int64_t place[kTokens];
  const float* shift_mask;  // null inside

  SMHDR_MEMBER_INLINE Window(const AttentionArgs& args, const AttentionPlan& plan, int b, int row, int column) {
    const int height = args.x.height, width = args.x.width;
    for (int t = 0; t < kTokens; ++t) {
      int py = row * kWindow + t / kWindow + args.shift, px = column * kWindow + t % kWindow + args.shift;
      py -= py >= height ? height : 0;
      px -= px >= width ? width : 0;
      place[t] = (int64_t{b} * height + py) * width + px;
    }
    const bool right = args.shift && column == width / kWindow - 1, bottom = args.shift && row == height / kWindow - 1;
    const int which = right && bottom ? 2 : bottom ? 1 : 0;
    shift_mask = right || bottom ? plan.shift_masks + which * kTokens * kTokens : nullptr;
  }

  /// x's pixels of the window to [C][64].
  SMHDR_MEMBER_INLINE void gather(const float* x, int channels, float* to) const {
    const float* tokens[kTokens];
    for (int t = 0; t < kTokens; ++t) tokens[t] = x + place[t] * channels;
    to_channel_major(tokens, kTokens, channels, to, kTokens);
  }
};

/// y [C][64] times the mask's factors, which go to `factors` where not null.
SMHDR_INLINE void apply_mask(const AttentionArgs& args, const Window& window, float* y, float* factors) {
  const int channels = args.x.channels;
  for (int t = 0; t < kTokens; t += kLanes) {
    Vec factor{};
    if (args.mask_mode == MaskMode::map) {
      float gathered[kLanes];
      for (int i = 0; i < kLanes; ++i) gathered[i] = args.mask[window.place[t + i]];
      factor = load(gathered);
    } else {
      for (int c = 0; c < channels; ++c) factor += load(y + c * kTokens + t);
      factor = sigmoid(factor * (1.0f / channels));
    }
    if (factors) store(factors + t, factor);
    for (int c = 0; c < channels; ++c) store(y + c * kTokens + t, load(y + c * kTokens + t) * factor);
  }
}

/// Softmax in base 2 down the columns of logits [key][64], in place as words, without dividing: 1 / sum goes to
/// `inverse` [64]. A few columns run beside each other, so that no sum waits for its last addition.
template <typename Word>
SMHDR_INLINE const Word* softmax(float* logits, float* inverse) {
  for (int t = 0; t < kTokens; t += kColumns * kLanes) {
    Vec top[kColumns], total[kColumns];
    for (int v = 0; v < kColumns; ++v) top[v] = load(logits + t + v * kLanes), total[v] = Vec{};
    for (int key = 1; key < kTokens; ++key)
      for (int v = 0; v < kColumns; ++v) top[v] = max(top[v], load(logits + key * kTokens + t + v * kLanes));
    const auto power = [&](int key, int v) __attribute__((always_inline)) {
      const Vec e = exp2(load(logits + key * kTokens + t + v * kLanes) - top[v]);
      total[v] += e;
      return e;
    };
    for (int key = 0; key < kTokens; key += kWordRows<Word>)
      for (int v = 0; v < kColumns; ++v) {
        const int at = t + v * kLanes;
        if constexpr (kWordRows<Word> == 1)
          store(logits + key * kTokens + at, power(key, v));
        else
          store_pairs(reinterpret_cast<Word*>(logits) + key / 2 * kTokens + at, power(key, v), power(key + 1, v));
      }
    for (int v = 0; v < kColumns; ++v) store(inverse + t + v * kLanes, reciprocal(total[v]));
  }
  return reinterpret_cast<const Word*>(logits);
}

/// logits[key][query] = k^T q + bias, both words [depth][64] of one head.
template <typename Word>
SMHDR_INLINE void head_logits(const Word* q, const Word* k, int depth, const float* bias, const float* shift_mask,
                              float* logits) {
  const auto from_bias = [&](int key, int t) __attribute__((always_inline)) { return load(bias + key * kTokens + t); };
  product_from(from_bias, k, 1, kTokens, q, kTokens, depth, kTokens,
               [&](int key, int t, Vec sum) __attribute__((always_inline)) {
                 if (shift_mask) sum += load(shift_mask + key * kTokens + t);
                 store(logits + key * kTokens + t, sum);
               });
}

/// Floats beside x [C][64]: normalised and mixed tokens, one head's q k v and its logits.
SMHDR_INLINE int64_t attention_tile_scratch(const AttentionArgs& args) {
  const int64_t channels = args.x.channels, depth = channels / args.weights.heads;
  return kTokens * (2 * channels + 3 * depth + kTokens);
}

/// x [C][64], the tokens of `window`, becomes x + keep * attention.
template <typename Word>
SMHDR_INLINE void attention_tile(const AttentionArgs& args, const AttentionPlan& plan, const Window& window, int b,
                                 float* x, float* scratch) {
  constexpr int rows = kWordRows<Word>;
  const int channels = args.x.channels, heads = args.weights.heads, depth = channels / heads,
            words = channels / rows;
  float *y = scratch, *mixed = y + kTokens * channels, *q = mixed + kTokens * channels, *k = q + kTokens * depth,
        *v = k + kTokens * depth, *logits = v + kTokens * depth;
  const Word* tokens;
  if (args.mask_mode == MaskMode::none) {
    tokens = normalise<Word>(x, args.weights.norm, channels, y);
  } else {
    normalise(x, args.weights.norm, channels, y);
    apply_mask(args, window, y, nullptr);
    tokens = as_words<Word>(y, channels);
  }

  const Word* weight = static_cast<const Word*>(plan.qkv);
  const float* qkv_bias = args.weights.qkv_bias;
  for (int h = 0; h < heads; ++h) {
    const auto head = [&](int which, float* to, float scale) __attribute__((always_inline)) {
      const int64_t first = int64_t{which} * channels + h * depth;
      linear_from(FromBias{qkv_bias + first}, weight + first * words, tokens, words, depth,
                  [&](int o, int t, Vec sum) __attribute__((always_inline)) { store(to + o * kTokens + t, sum * scale); });
    };
    head(0, q, plan.logit_scale);
    head(1, k, 1);
    head(2, v, 1);
    head_logits(as_words<Word>(q, depth), as_words<Word>(k, depth), depth / rows,
                plan.bias + int64_t{h} * kTokens * kTokens, window.shift_mask, logits);
    alignas(64) float inverse[kTokens];
    const Word* attention = softmax<Word>(logits, inverse);
    float* out = mixed + h * depth * kTokens;
    product(as_words_along<Word>(v, depth), kTokens / rows, 1, attention, kTokens, kTokens / rows, depth,
            [&](int d, int t, Vec sum) __attribute__((always_inline)) {
              store(out + d * kTokens + t, sum * load(inverse + t));
            });
  }

  const float keep = args.keep ? args.keep[b] : 1.0f;
  linear_from(FromBias{args.weights.proj_bias}, static_cast<const Word*>(plan.proj), as_words<Word>(mixed, channels),
              words, channels, [&](int o, int t, Vec sum) __attribute__((always_inline)) {
                store(x + o * kTokens + t, load(x + o * kTokens + t) + sum * keep);
              });
}

static int64_t attention_scratch(const AttentionArgs& args) {
  return kTokens * args.x.channels + attention_tile_scratch(args);
}

template <typename Word>
static void attention_window(const AttentionArgs& args, const AttentionPlan& plan, int b, int row, int column,
                             float* scratch) {
  const int channels = args.x.channels;
  const Window window(args, plan, b, row, column);
  window.gather(args.x.data, channels, scratch);
  attention_tile<Word>(args, plan, window, b, scratch, scratch + kTokens * channels);
  each_token(scratch, channels, kTokens, [&](int t, int c, Vec value, int n) __attribute__((always_inline)) {
    store_some(args.out.data + window.place[t] * channels + c, value, n);
  });
}

}  // namespace smhdr::cpu::SMHDR_ISA
