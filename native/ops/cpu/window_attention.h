// One 8x8 window from its pixels to its pixels while it stays in cache: normalise, mask, q k v, attention with bias and
// shift mask, projection, residual.
#pragma once

#include "ops/cpu/product.h"

namespace smhdr::cpu::SMHDR_ISA {

static int64_t attention_scratch(const AttentionArgs& args) {
  // tokens, q k v, mixed values (each [channels][64]) and one head's logits.
  return int64_t{kTokens} * (5 * args.x.channels + kTokens);
}

static void attention_window(const AttentionArgs& args, const AttentionPlan& plan, int b, int row, int column,
                             float* scratch) {
  const int height = args.x.height, width = args.x.width, channels = args.x.channels, heads = args.weights.heads,
            depth = channels / heads;
  float *y = scratch, *qkv = y + kTokens * channels, *mixed = qkv + 3 * kTokens * channels,
        *logits = mixed + kTokens * channels;

  // Runs of four tokens never wrap: the shift is 4 and sizes are multiples of 8.
  const float* tokens[kTokens];
  int64_t place[kTokens];
  for (int t = 0; t < kTokens; ++t) {
    int py = row * kWindow + t / kWindow + args.shift, px = column * kWindow + t % kWindow + args.shift;
    py -= py >= height ? height : 0;
    px -= px >= width ? width : 0;
    place[t] = (int64_t{b} * height + py) * width + px;
    tokens[t] = args.x.data + place[t] * channels;
  }
  to_channel_major(tokens, kTokens, channels, y, kTokens);
  normalise(y, args.weights.norm, channels);
  if (args.mask_mode != MaskMode::none) {
    for (int t = 0; t < kTokens; t += kLanes) {
      Vec factor{};
      if (args.mask_mode == MaskMode::map) {
        float gathered[kLanes];
        for (int i = 0; i < kLanes; ++i) gathered[i] = args.mask[place[t + i]];
        factor = load(gathered);
      } else {
        for (int c = 0; c < channels; ++c) factor += load(y + c * kTokens + t);
        factor = sigmoid(factor * (1.0f / channels));
      }
      for (int c = 0; c < channels; ++c) store(y + c * kTokens + t, load(y + c * kTokens + t) * factor);
    }
  }

  const float* qkv_bias = args.weights.qkv_bias;
  linear(
      args.weights.qkv_weight, y, channels, 3 * channels, [&](int o, int t, Vec sum) __attribute__((always_inline)) {
        sum += qkv_bias[o];
        store(qkv + o * kTokens + t, o < channels ? sum * plan.logit_scale : sum);
      });

  const bool right = args.shift && column == width / kWindow - 1, bottom = args.shift && row == height / kWindow - 1;
  const float* shift_mask = right || bottom ? plan.shift_masks + (right && bottom ? 2
                                                                  : bottom        ? 1
                                                                                  : 0) *
                                                                     kTokens * kTokens
                                            : nullptr;
  for (int h = 0; h < heads; ++h) {
    const float *q = qkv + h * depth * kTokens, *k = q + channels * kTokens, *v = k + channels * kTokens;
    const float* bias = plan.bias + int64_t{h} * kTokens * kTokens;
    // logits[key][query]: the softmax over keys runs down the rows.
    product(
        k, 1, kTokens, q, kTokens, depth, kTokens, [&](int key, int t, Vec sum) __attribute__((always_inline)) {
          sum += load(bias + key * kTokens + t);
          if (shift_mask) sum += load(shift_mask + key * kTokens + t);
          store(logits + key * kTokens + t, sum);
        });
    float inverse[kTokens];
    for (int t = 0; t < kTokens; t += kLanes) {
      Vec top = load(logits + t), total{};
      for (int key = 1; key < kTokens; ++key) top = max(top, load(logits + key * kTokens + t));
      for (int key = 0; key < kTokens; ++key) {
        const Vec e = exp2(load(logits + key * kTokens + t) - top);
        store(logits + key * kTokens + t, e);
        total += e;
      }
      store(inverse + t, 1.0f / total);
    }
    float* out = mixed + h * depth * kTokens;
    product(
        v, kTokens, 1, logits, kTokens, kTokens, depth, [&](int d, int t, Vec sum) __attribute__((always_inline)) {
          store(out + d * kTokens + t, sum * load(inverse + t));
        });
  }

  // y is free now: the projection goes there, then token by token onto the residual.
  const float *proj_bias = args.weights.proj_bias, keep = args.keep ? args.keep[b] : 1.0f;
  linear(
      args.weights.proj_weight, mixed, channels, channels, [&](int o, int t, Vec sum) __attribute__((always_inline)) {
        store(y + o * kTokens + t, (sum + proj_bias[o]) * keep);
      });
  float* result = qkv;
  to_token_major(y, channels, result);
  for (int t = 0; t < kTokens; t += 4) {
    const float* from = tokens[t];
    float* to = args.out.data + place[t] * channels;
    for_channels(
        4 * channels, [&](int c, int n) __attribute__((always_inline)) {
          store_some(to + c, load_some(from + c, n) + load_some(result + t * channels + c, n), n);
        });
  }
}

}  // namespace smhdr::cpu::SMHDR_ISA
