// Between memory, where a pixel's channels lie together, and the kernels, where 64 tokens lie side by side.
#pragma once

#include "ops/cpu/kernels.h"
#include "ops/cpu/vector.h"

namespace smhdr::cpu::SMHDR_ISA {

/// tokens[t] points at C floats, `count` of them, a multiple of kLanes -> to [C][to_row].
SMHDR_INLINE void to_channel_major(const float* const* tokens, int count, int channels, float* to, int64_t to_row) {
  for (int t = 0; t < count; t += kLanes)
    for_channels(
        channels, [&](int c, int n) __attribute__((always_inline)) {
          Vec v[kLanes];
#pragma GCC unroll 16
          for (int i = 0; i < kLanes; ++i) v[i] = load_some(tokens[t + i] + c, n);
          transpose(v);
#pragma GCC unroll 16
          for (int i = 0; i < kLanes; ++i)
            if (i < n) store(to + (c + i) * to_row + t, v[i]);
        });
}

/// put(t, c, value, n): channels c to c + n - 1 of token t, for the first `count` tokens of from [C][64].
template <typename Put>
SMHDR_INLINE void each_token(const float* from, int channels, int count, Put put) {
  for (int t = 0; t < count; t += kLanes)
    for_channels(
        channels, [&](int c, int n) __attribute__((always_inline)) {
          Vec v[kLanes];
#pragma GCC unroll 16
          for (int i = 0; i < kLanes; ++i) v[i] = i < n ? load(from + (c + i) * kTokens + t) : Vec{};
          transpose(v);
#pragma GCC unroll 16
          for (int i = 0; i < kLanes; ++i)
            if (t + i < count) put(t + i, c, v[i], n);
        });
}

/// from [C][64] -> to [64][C].
SMHDR_INLINE void to_token_major(const float* from, int channels, float* to) {
  each_token(
      from, channels, kTokens, [&](int t, int c, Vec value, int n) __attribute__((always_inline)) {
        store_some(to + t * channels + c, value, n);
      });
}

/// Up to 64 consecutive pixels to [C][64]; what is beyond `count` repeats the last pixel, so that it stays finite.
SMHDR_INLINE void gather_tokens(const float* x, int channels, int count, float* to) {
  const float* tokens[kTokens];
  for (int t = 0; t < kTokens; ++t) tokens[t] = x + int64_t{t < count ? t : count - 1} * channels;
  to_channel_major(tokens, kTokens, channels, to, kTokens);
}

/// Pixels of `to` = from [C][64], plus `add` where not null.
SMHDR_INLINE void scatter_tokens(const float* from, int channels, int count, const float* add, float* to) {
  each_token(
      from, channels, count, [&](int t, int c, Vec value, int n) __attribute__((always_inline)) {
        const int64_t at = int64_t{t} * channels + c;
        store_some(to + at, add ? value + load_some(add + at, n) : value, n);
      });
}

/// Columns of a token-major operand of `outer_tokens`, padded to whole register blocks.
SMHDR_INLINE int padded_columns(int columns) {
  constexpr int block = kColumns * kLanes;
  return (columns + block - 1) / block * block;
}

/// from [C][64] -> to [64][padded_columns(C)], the padding zero.
SMHDR_INLINE void to_padded_tokens(const float* from, int channels, float* to) {
  const int stride = padded_columns(channels);
  each_token(
      from, channels,
      kTokens, [&](int t, int c, Vec value, int) __attribute__((always_inline)) { store(to + t * stride + c, value); });
  const int whole = (channels + kLanes - 1) / kLanes * kLanes;
  for (int t = 0; t < kTokens; ++t)
    for (int c = whole; c < stride; c += kLanes) store(to + t * stride + c, Vec{});
}

}  // namespace smhdr::cpu::SMHDR_ISA
