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
      const Vec e = exp2_before<Word>(load(logits + key * kTokens + t + v * kLanes) - top[v]);
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

#if defined(__AMX_BF16__)
/// out[key][query] = k^T q, both [rows][64], plus `start` where not null. q's words go to `words`, which may be q; k's
/// tiles to `spare`.
SMHDR_INLINE void token_products(const float* q, const float* k, int rows, const float* start, float* out, float* words,
                                 float* spare) {
  const Pair* right = as_words<Pair>(q, rows, words);
  Pair* left = reinterpret_cast<Pair*>(spare);
  transposed_tiles(k, rows, left);
  const int depth = tile_depth(rows / 2);
  for (int key = 0; key < kTokens; key += kTileSide, left += depth * kTileWords) {
    if (start)
      tile_load_sums(start + key * kTokens, kTokens);
    else
      tile_zero_sums();
    tile_add_products({left, kTileSide, kTileWords}, right, kTokens, depth);
    tile_store_sums(out + key * kTokens, kTokens);
  }
}
#endif

/// logits[key][query] = k^T q + bias, both [depth][64] of one head; they become words in place, but k's, where there is
/// a matrix unit, tiles in `spare`.
template <typename Word>
SMHDR_INLINE void head_logits(float* q, float* k, int rows, const float* bias, const float* shift_mask, float* logits,
                              [[maybe_unused]] float* spare) {
#if defined(__AMX_BF16__)
  if constexpr (kWordRows<Word> == 2) {
    token_products(q, k, rows, bias, logits, q, spare);
    if (shift_mask)
      for (int i = 0; i < kTokens * kTokens; i += kLanes) store(logits + i, load(logits + i) + load(shift_mask + i));
    return;
  }
#endif
  const auto from_bias = [&](int key, int t) __attribute__((always_inline)) { return load(bias + key * kTokens + t); };
  product_from(
      from_bias, as_words<Word>(k, rows), 1, kTokens, as_words<Word>(q, rows), kTokens, rows / kWordRows<Word>,
      kTokens, [&](int key, int t, Vec sum) __attribute__((always_inline)) {
        if (shift_mask) sum += load(shift_mask + key * kTokens + t);
        store(logits + key * kTokens + t, sum);
      });
}

/// Floats that head_logits needs beside its operands.
SMHDR_INLINE int64_t logits_spare(int depth) { return kTiled ? int64_t{4} * tile_depth(depth / 2) * kTileWords : 0; }

/// Floats beside x [C][64]: normalised and mixed tokens, one head's q k v and its logits.
SMHDR_INLINE int64_t attention_tile_scratch(const AttentionArgs& args) {
  const int channels = args.x.channels, depth = channels / args.weights.heads;
  return kTokens * (2 * room(channels) + 3 * room(depth) + kTokens) + logits_spare(depth);
}

/// x [C][64], the tokens of `window`, becomes x + keep * attention.
template <typename Word>
SMHDR_INLINE void attention_tile(const AttentionArgs& args, const AttentionPlan& plan, const Window& window, int b,
                                 float* x, float* scratch) {
  constexpr int rows = kWordRows<Word>;
  const int channels = args.x.channels, heads = args.weights.heads, depth = channels / heads, words = channels / rows;
  const int64_t tokens_room = kTokens * room(channels), head_room = kTokens * room(depth);
  float *y = scratch, *mixed = y + tokens_room, *q = mixed + tokens_room, *k = q + head_room, *v = k + head_room,
        *logits = v + head_room, *spare = logits + kTokens * kTokens;
  const Word* tokens;
  if (args.mask_mode == MaskMode::none) {
    tokens = normalise<Word>(x, args.weights.norm, channels, y);
  } else {
    normalise(x, args.weights.norm, channels, y);
    apply_mask(args, window, y, nullptr);
    tokens = as_words<Word>(y, channels);
  }

  for (int h = 0; h < heads; ++h) {
    linear_from(
        FromBias{plan.qkv_bias + h * 3 * depth}, static_cast<const Word*>(plan.qkv) + h * plan.words_a_head, tokens,
        words, 3 * depth, [&](int o, int t, Vec sum) __attribute__((always_inline)) {
          float* to = o < depth ? q : o < 2 * depth ? k - kTokens * depth : v - kTokens * 2 * depth;
          store(to + o * kTokens + t, o < depth ? sum * plan.logit_scale : sum);
        });
    head_logits<Word>(q, k, depth, plan.bias + int64_t{h} * kTokens * kTokens, window.shift_mask, logits, spare);
    alignas(64) float inverse[kTokens];
    const Word* attention = softmax<Word>(logits, inverse);
    float* out = mixed + h * depth * kTokens;
    product_along(
        as_words_along<Word>(v, depth), attention, depth, [&](int d, int t, Vec sum) __attribute__((always_inline)) {
          store(out + d * kTokens + t, sum * load(inverse + t));
        });
  }

  const float keep = args.keep ? args.keep[b] : 1.0f;
  linear_from(
      FromBias{args.weights.proj_bias}, static_cast<const Word*>(plan.proj), as_words<Word>(mixed, channels), words,
      channels, [&](int o, int t, Vec sum) __attribute__((always_inline)) {
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
  const TileScope tiles;
  const Window window(args, plan, b, row, column);
  window.gather(args.x.data, channels, scratch);
  attention_tile<Word>(args, plan, window, b, scratch, scratch + kTokens * channels);
  each_token(
      scratch, channels, kTokens, [&](int t, int c, Vec value, int n) __attribute__((always_inline)) {
        store_some(args.out.data + window.place[t] * channels + c, value, n);
      });
}

}  // namespace smhdr::cpu::SMHDR_ISA
