// The MLP with its LayerNorm and residual, on 64 tokens that stay in cache.
#pragma once

#include "ops/cpu/product.h"

namespace smhdr::cpu::SMHDR_ISA {

/// Floats beside x [C][64].
SMHDR_INLINE int64_t mlp_tile_scratch(int channels, int hidden) { return kTokens * (room(channels) + room(hidden)); }

/// x [C][64] becomes residual * x + keep * fc2(gelu(fc1(norm(x)))).
template <typename Word>
SMHDR_INLINE void mlp_tile(const MlpArgs& args, const MlpPlan& plan, int b, float* x, float* scratch) {
  constexpr int rows = kWordRows<Word>;
  const MlpWeights& w = args.weights;
  const int channels = args.x.channels, hidden = w.hidden;
  float *y = scratch, *inner = y + kTokens * room(channels);
  const Word* tokens;
  if (w.norm.gain)
    tokens = normalise<Word>(x, w.norm, channels, y);
  else
    tokens = as_words<Word>(x, channels, y);
  const Word* active = linear_words(
      w.fc1_bias, static_cast<const Word*>(plan.fc1), tokens, channels / rows, hidden, inner,
      [](Vec v) __attribute__((always_inline)) { return gelu_before<Word>(v); });
  const float keep = args.keep ? args.keep[b] : 1.0f;
  const bool residual = args.residual;
  linear_from(
      FromBias{w.fc2_bias}, static_cast<const Word*>(plan.fc2), active, hidden / rows,
      channels, [&](int o, int t, Vec sum) __attribute__((always_inline)) {
        const Vec change = sum * keep;
        store(x + o * kTokens + t, residual ? load(x + o * kTokens + t) + change : change);
      });
}

static int64_t mlp_scratch(const MlpArgs& args) {
  return kTokens * args.x.channels + mlp_tile_scratch(args.x.channels, args.weights.hidden);
}

template <typename Word>
static void mlp_tokens(const MlpArgs& args, const MlpPlan& plan, int b, int64_t first, int count, float* scratch) {
  const int channels = args.x.channels;
  gather_tokens(args.x.data + first * channels, channels, count, scratch);
  // The next tile arrives while this one is computed.
  if (count == kTokens) {
    const int64_t next = (first + kTokens) * channels, bytes = int64_t{kTokens} * channels * 4;
    if (first + 2 * kTokens <= args.x.pixels()) {
      prefetch<2>(args.x.data + next, bytes);
      if (args.add) prefetch<2>(args.add + next, bytes);
      if (args.out.data != args.x.data) prefetch<2>(args.out.data + next, bytes);
    }
  }
  const TileScope tiles;
  mlp_tile<Word>(args, plan, b, scratch, scratch + kTokens * channels);
  const float* add = args.add ? args.add + first * channels : nullptr;
  scatter_tokens(scratch, channels, count, add, args.out.data + first * channels);
}

}  // namespace smhdr::cpu::SMHDR_ISA
