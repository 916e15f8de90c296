// The masked hybrid attention block: for a few windows side by side, the local branch of their pixels, then attention
// and MLP window by window. Nothing but x is read from memory and nothing but the result is written.
#pragma once

#include "ops/cpu/local_branch.h"
#include "ops/cpu/mlp.h"
#include "ops/cpu/window_attention.h"

namespace smhdr::cpu::SMHDR_ISA {

static int64_t hybrid_scratch(const HybridArgs& args) {
  const int channels = args.attention.x.channels, hidden = args.mlp.weights.hidden;
  const int64_t attention = attention_tile_scratch(args.attention), mlp = mlp_tile_scratch(channels, hidden),
                local = local_scratch(channels), window = kTokens * channels + (attention > mlp ? attention : mlp);
  return kWindow * kTokens * channels + (window > local ? window : local);
}

template <typename Word>
static void hybrid_tile(const HybridArgs& args, const HybridPlan& plan, int b, int row, int column, float* scratch) {
  const AttentionArgs& attention = args.attention;
  const int height = attention.x.height, width = attention.x.width, channels = attention.x.channels;
  const int left = width / kWindow - column, windows = left < kTokens / kWindow ? left : kTokens / kWindow;
  float *local = scratch, *work = local + kWindow * kTokens * channels;
  // The tile's pixels in the shifted image may wrap around: up to four rectangles.
  constexpr int64_t stride = kTokens;
  for (int line = 0; line < kWindow;) {
    const int y = (row * kWindow + line + attention.shift) % height;
    const int lines = kWindow - line < height - y ? kWindow - line : height - y;
    for (int at = 0; at < windows * kWindow;) {
      const int x = (column * kWindow + at + attention.shift) % width;
      const int count = windows * kWindow - at < width - x ? windows * kWindow - at : width - x;
      local_rectangle(args.local, plan.local, b, y, y + lines, x, x + count, local + (line * stride + at) * channels,
                      stride * channels, work);
      at += count;
    }
    line += lines;
  }
  float *x = work, *spare = x + kTokens * channels;
  const TileScope tiles;
  for (int w = 0; w < windows; ++w) {
    const Window window(attention, plan.attention, b, row, column + w);
    window.gather(attention.x.data, channels, x);
    attention_tile<Word>(attention, plan.attention, window, b, x, spare);
    mlp_tile<Word>(args.mlp, plan.mlp, b, x, spare);
    each_token(
        x, channels, kTokens, [&](int t, int c, Vec value, int n) __attribute__((always_inline)) {
          const float* add = local + (t / kWindow * stride + w * kWindow + t % kWindow) * channels + c;
          store_some(args.out.data + window.place[t] * channels + c, value + load_some(add, n), n);
        });
  }
}

}  // namespace smhdr::cpu::SMHDR_ISA
