// Backward of one 8x8 window: its forward again, then from the gradient of its scaled to that of its input.
#pragma once

#include "ops/cpu/backward.h"
#include "ops/cpu/window_attention.h"

namespace smhdr::cpu::SMHDR_ISA {

static int64_t attention_backward_scratch(const AttentionBackwardArgs& args) {
  const int64_t channels = args.forward.x.channels;
  return kTokens * (13 * channels + 4 * kTokens + padded_columns(static_cast<int>(channels)));
}

SMHDR_INLINE void transpose_square(const float* from, float* to) { to_token_major(from, kTokens, to); }

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
  float *x = take(channels), *y = take(channels), *qkv = take(3 * channels), *mixed = take(channels),
        *grad = take(channels), *grad_mixed = take(channels), *grad_qkv = take(3 * channels), *grad_y = take(channels),
        *scaled = take(channels), *attention = take(kTokens), *grad_logits = take(kTokens),
        *flipped = take(kTokens), *spare = take(kTokens), *padded = next;

  const Window window(f, plan, b, row, column);
  window.gather(f.x.data, channels, x);
  window.gather(args.grad_out.data, channels, grad);
  const float keep = f.keep ? f.keep[b] : 1.0f;
  for (int i = 0; i < kTokens * channels; i += kLanes) store(grad + i, load(grad + i) * keep);
  normalise(x, f.weights.norm, channels, y);
  float* factors = spare;
  if (f.mask_mode != MaskMode::none) apply_mask(f, window, y, factors);
  linear(
      f.weights.qkv_weight, y, channels, 3 * channels, [&](int o, int t, Vec sum) __attribute__((always_inline)) {
        store(qkv + o * kTokens + t, sum + f.weights.qkv_bias[o]);
      });
  product(
      f.weights.proj_weight, 1, channels, grad, kTokens, channels,
      channels, [&](int o, int t, Vec sum) __attribute__((always_inline)) {
        store(grad_mixed + o * kTokens + t, sum);
      });

  const float natural = plan.logit_scale * 0.693147181f;  // 1 / sqrt(depth)
  for (int h = 0; h < heads; ++h) {
    const int64_t at = int64_t{h} * depth * kTokens, all = int64_t{channels} * kTokens;
    const float *q = qkv + at, *k = q + all, *v = k + all, *g = grad_mixed + at;
    float *grad_q = grad_qkv + at, *grad_k = grad_q + all, *grad_v = grad_k + all;
    const float* bias = plan.bias + int64_t{h} * kTokens * kTokens;
    for (int i = 0; i < depth * kTokens; i += kLanes) store(scaled + i, load(q + i) * plan.logit_scale);
    head_logits<float>(scaled, const_cast<float*>(k), depth, bias, window.shift_mask, attention, nullptr);
    alignas(64) float inverse[kTokens];
    softmax<float>(attention, inverse);
    map_rows<float>(attention, kTokens, [&](int, int t, Vec e) __attribute__((always_inline)) {
      return e * load(inverse + t);
    });
    product(
        v, kTokens, 1, attention, kTokens, kTokens,
        depth, [&](int d, int t, Vec sum) __attribute__((always_inline)) { store(mixed + at + d * kTokens + t, sum); });
    product(
        v, 1, kTokens, g, kTokens, depth, kTokens, [&](int key, int t, Vec sum) __attribute__((always_inline)) {
          store(grad_logits + key * kTokens + t, sum);
        });
    for (int t = 0; t < kTokens; t += kLanes) {
      Vec along{};
      for (int key = 0; key < kTokens; ++key)
        along += load(attention + key * kTokens + t) * load(grad_logits + key * kTokens + t);
      for (int key = 0; key < kTokens; ++key)
        store(grad_logits + key * kTokens + t,
              load(attention + key * kTokens + t) * (load(grad_logits + key * kTokens + t) - along));
    }
    if (out.bias_table) {
      float* table = out.bias_table + int64_t{h} * kTokens * kTokens;
      for (int i = 0; i < kTokens * kTokens; i += kLanes) store(table + i, load(table + i) + load(grad_logits + i));
    }
    product(
        k, kTokens, 1, grad_logits, kTokens, kTokens, depth, [&](int d, int t, Vec sum) __attribute__((always_inline)) {
          store(grad_q + d * kTokens + t, sum * natural);
        });
    transpose_square(grad_logits, flipped);
    product(
        q, kTokens, 1, flipped, kTokens, kTokens, depth, [&](int d, int t, Vec sum) __attribute__((always_inline)) {
          store(grad_k + d * kTokens + t, sum * natural);
        });
    transpose_square(attention, flipped);
    product(
        g, kTokens, 1, flipped, kTokens, kTokens,
        depth, [&](int d, int t, Vec sum) __attribute__((always_inline)) { store(grad_v + d * kTokens + t, sum); });
  }
  product(
      f.weights.qkv_weight, 1, channels, grad_qkv, kTokens, 3 * channels,
      channels, [&](int o, int t, Vec sum) __attribute__((always_inline)) { store(grad_y + o * kTokens + t, sum); });
  if (out.proj_weight) {
    to_padded_tokens(mixed, channels, padded);
    outer(grad, channels, padded, padded_columns(channels), channels, out.proj_weight);
  }
  if (out.proj_bias) sum_tokens(grad, channels, out.proj_bias);
  if (out.qkv_weight) {
    to_padded_tokens(y, channels, padded);
    outer(grad_qkv, 3 * channels, padded, padded_columns(channels), channels, out.qkv_weight);
  }
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
  each_token(grad_y, channels, kTokens, [&](int t, int c, Vec value, int n) __attribute__((always_inline)) {
    const int64_t to = window.place[t] * channels + c;
    store_some(args.grad_x.data + to, value + load_some(args.grad_out.data + to, n), n);
  });
}

}  // namespace smhdr::cpu::SMHDR_ISA
