// What a product multiplies: floats, or pairs of bfloat16 whose two products a processor adds to a float at once. The
// kernels are written once over the word; a pair holds rows 2k (low half) and 2k + 1 (high half) of a float operand.
#pragma once

#include <type_traits>

#include "ops/cpu/layout.h"

namespace smhdr::cpu::SMHDR_ISA {

/// Rows of a float operand that one word holds.
template <typename Word>
inline constexpr int kWordRows = std::is_same_v<Word, float> ? 1 : 2;

/// Words a matrix unit's tile is high and wide, and words in it; kTiled: the kernels being compiled multiply with one.
#if defined(__AMX_BF16__)
inline constexpr bool kTiled = true;
#else
inline constexpr bool kTiled = false;
#endif
inline constexpr int kTileSide = 16, kTileWords = kTileSide * kTileSide;
/// Tiles that a depth of so many words fills.
SMHDR_INLINE int tile_depth(int words) { return (words + kTileSide - 1) / kTileSide; }
/// Rows that [rows][64] floats need room for, to become words in place: with the zeros that fill the last tile.
SMHDR_INLINE int64_t room(int64_t rows) { return kTiled && rows < kTileSide ? kTileSide : rows; }

SMHDR_INLINE Vec multiply_add(Vec sum, float w, Vec x) { return sum + splat(w) * x; }

#if defined(__AVX512BF16__)
using Pair = uint32_t;
typedef uint32_t PairVec __attribute__((vector_size(kLanes * 4)));
typedef uint32_t PairVecAny __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

SMHDR_INLINE PairVec load(const Pair* p) { return *reinterpret_cast<const PairVecAny*>(p); }
SMHDR_INLINE void store(Pair* p, PairVec v) { *reinterpret_cast<PairVecAny*>(p) = v; }

SMHDR_INLINE Vec multiply_add(Vec sum, Pair w, PairVec x) {
  return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32(static_cast<int>(w)), (__m512bh)x);
}

/// Rounded to nearest: lane i of the result holds (even[i], odd[i]).
SMHDR_INLINE PairVec pair(Vec even, Vec odd) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                         5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return (PairVec)_mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(odd, even));
}
/// Rounded to nearest: 32 values that lie one after the other as 16 pairs.
SMHDR_INLINE PairVec pair_along(Vec first, Vec second) { return (PairVec)_mm512_cvtne2ps_pbh(second, first); }
#endif

/// GELU and 2^x (see vector.h) of what becomes words. Where those are bfloat16, whose rounding is 2e-3 of a value, for
/// less: GELU to 1.3e-4, 2^x to 1e-4 of it.
template <typename Word>
SMHDR_INLINE Vec gelu_before(Vec x) {
#if defined(__AVX512BF16__)
  if constexpr (kWordRows<Word> == 2) {
    // max(x, 0) - g(|x|); g(a) = a (1 - Phi(a)) is a parabola on each quarter up to 4, the closest one (least squares,
    // reweighted until the largest error is least).
    const __m512 constant = _mm512_setr_ps(1.620838e-05f, 0.0034099484f, 0.024282224f, 0.078294598f, 0.16755661f,
                                           0.27449235f, 0.36897838f, 0.42323864f, 0.42444611f, 0.37819517f, 0.30279794f,
                                           0.21962087f, 0.14518799f, 0.087894566f, 0.048906572f, 0.025085624f);
    const __m512 linear = _mm512_setr_ps(0.49903873f, 0.47402674f, 0.39193738f, 0.24837682f, 0.069509439f, -0.10242841f,
                                         -0.22937898f, -0.29220513f, -0.29394001f, -0.25306728f, -0.19278176f,
                                         -0.13221204f, -0.082480475f, -0.047124971f, -0.024775634f, -0.01202745f);
    const __m512 square =
        _mm512_setr_ps(-0.39149886f, -0.34479284f, -0.26368847f, -0.16807862f, -0.078357853f, -0.0091891345f,
                       0.033475623f, 0.051666647f, 0.052232623f, 0.043200746f, 0.031147646f, 0.020119039f, 0.011810966f,
                       0.0063558994f, 0.0031527206f, 0.0014469767f);
    const Vec a = min(_mm512_abs_ps(x), splat(3.9999998f));
    const __m512i quarter = _mm512_cvttps_epi32(a * 4.0f);
    const Vec g = a * (a * (Vec)_mm512_permutexvar_ps(quarter, square) + (Vec)_mm512_permutexvar_ps(quarter, linear)) +
                  (Vec)_mm512_permutexvar_ps(quarter, constant);
    return max(Vec{}, x) - g;  // in this order a NaN stays one
  }
#endif
  return gelu(x);
}
template <typename Word>
SMHDR_INLINE Vec exp2_before(Vec x) {
  return kWordRows<Word> == 2 ? exp2_by(x, kExp2Coarse) : exp2(x);
}

/// Where a word holds two rows: kLanes words of rows `even` and `odd`; and of 2 kLanes values that lie in a row.
template <typename Word>
SMHDR_INLINE void store_pairs([[maybe_unused]] Word* to, [[maybe_unused]] Vec even, [[maybe_unused]] Vec odd) {
#if defined(__AVX512BF16__)
  store(to, pair(even, odd));
#endif
}
template <typename Word>
SMHDR_INLINE void store_pairs_along([[maybe_unused]] Word* to, [[maybe_unused]] Vec first,
                                    [[maybe_unused]] Vec second) {
#if defined(__AVX512BF16__)
  store(to, pair_along(first, second));
#endif
}

/// Zeros behind words [depth][row], up to whole tiles where there is a matrix unit: its products take them with them.
template <typename Word>
SMHDR_INLINE const Word* fill_tiles(float* words, [[maybe_unused]] int rows, [[maybe_unused]] int64_t row = kTokens) {
  if constexpr (kTiled && kWordRows<Word> == 2)
    for (int64_t i = rows / 2 * row; i < tile_depth(rows / 2) * kTileSide * row; i += kLanes) store(words + i, Vec{});
  return reinterpret_cast<const Word*>(words);
}

/// value(row) for kLanes tokens at t to words of out [rows][64]; where a word holds two rows, `rows` is even. In place
/// on the floats that `value` reads: pairs shrink towards the front.
template <typename Word, typename F>
SMHDR_INLINE void store_column(float* out, int rows, int t, F value) {
  if constexpr (kWordRows<Word> == 1) {
    for (int r = 0; r < rows; ++r) store(out + r * kTokens + t, value(r));
  } else {
    for (int w = 0; w < rows / 2; ++w)
      store_pairs(reinterpret_cast<Word*>(out) + w * kTokens + t, value(2 * w), value(2 * w + 1));
  }
}

/// f(row, t, value) of rows [rows][64] as words, in place.
template <typename Word, typename F>
SMHDR_INLINE const Word* map_rows(float* x, int rows, F f) {
  for (int t = 0; t < kTokens; t += kLanes)
    store_column<Word>(
        x, rows, t, [&](int r) __attribute__((always_inline)) { return f(r, t, load(x + r * kTokens + t)); });
  return fill_tiles<Word>(x, rows);
}

/// Rows [rows][64] as words: in place, or of x into `out`, which only words that are no floats need.
template <typename Word>
SMHDR_INLINE const Word* as_words(const float* x, int rows, float* out) {
  if constexpr (kWordRows<Word> == 1) return x;
  for (int t = 0; t < kTokens; t += kLanes)
    store_column<Word>(
        out, rows, t, [&](int r) __attribute__((always_inline)) { return load(x + r * kTokens + t); });
  return fill_tiles<Word>(out, rows);
}
template <typename Word>
SMHDR_INLINE const Word* as_words(float* x, int rows) {
  return as_words<Word>(x, rows, x);
}

/// Rows [rows][64] with the words along a row ([rows][64 / kWordRows]), the left operand of a product whose depth is
/// tokens: in place, or of x into `out`, which only words that are no floats need.
template <typename Word>
SMHDR_INLINE const Word* as_words_along(const float* x, [[maybe_unused]] int rows, [[maybe_unused]] float* out) {
  if constexpr (kWordRows<Word> == 1) {
    return x;
  } else {
    for (int i = 0; i < rows * kTokens; i += 2 * kLanes)
      store_pairs_along(reinterpret_cast<Word*>(out) + i / 2, load(x + i), load(x + i + kLanes));
    return reinterpret_cast<const Word*>(out);
  }
}
template <typename Word>
SMHDR_INLINE const Word* as_words_along(float* x, int rows) {
  return as_words_along<Word>(x, rows, x);
}

}  // namespace smhdr::cpu::SMHDR_ISA
