// What a product multiplies: floats, or pairs of bfloat16 whose two products a processor adds to a float at once. The
// kernels are written once over the word; a pair holds rows 2k (low half) and 2k + 1 (high half) of a float operand.
#pragma once

#include <type_traits>

#include "ops/cpu/layout.h"

namespace smhdr::cpu::SMHDR_ISA {

/// Rows of a float operand that one word holds.
template <typename Word>
inline constexpr int kWordRows = std::is_same_v<Word, float> ? 1 : 2;

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

/// value(row) for kLanes tokens at t to words of out [rows][64]; where a word holds two rows, `rows` is even. In place
/// on the floats that `value` reads: pairs shrink towards the front.
template <typename Word, typename F>
SMHDR_INLINE void store_column(float* out, int rows, int t, F value) {
  if constexpr (kWordRows<Word> == 1) {
    for (int r = 0; r < rows; ++r) store(out + r * kTokens + t, value(r));
  } else {
    for (int r = 0; r < rows; r += 2)
      store_pairs(reinterpret_cast<Word*>(out) + r / 2 * kTokens + t, value(r), value(r + 1));
  }
}

/// f(row, t, value) of rows [rows][64] as words, in place.
template <typename Word, typename F>
SMHDR_INLINE const Word* map_rows(float* x, int rows, F f) {
  for (int t = 0; t < kTokens; t += kLanes)
    store_column<Word>(x, rows, t, [&](int r) __attribute__((always_inline)) {
      return f(r, t, load(x + r * kTokens + t));
    });
  return reinterpret_cast<const Word*>(x);
}

/// Rows [rows][64] as words: in place, or of x into `out`, which only words that are no floats need.
template <typename Word>
SMHDR_INLINE const Word* as_words(const float* x, int rows, float* out) {
  if constexpr (kWordRows<Word> == 1) return x;
  for (int t = 0; t < kTokens; t += kLanes)
    store_column<Word>(out, rows, t, [&](int r) __attribute__((always_inline)) { return load(x + r * kTokens + t); });
  return reinterpret_cast<const Word*>(out);
}
template <typename Word>
SMHDR_INLINE const Word* as_words(float* x, int rows) {
  return as_words<Word>(x, rows, x);
}

/// Rows [rows][64] with the words along a row ([rows][64 / kWordRows]), in place: the left operand of a product whose
/// depth is tokens.
template <typename Word>
SMHDR_INLINE const Word* as_words_along(float* x, [[maybe_unused]] int rows) {
  if constexpr (kWordRows<Word> == 2) {
    for (int i = 0; i < rows * kTokens; i += 2 * kLanes)
      store_pairs_along(reinterpret_cast<Word*>(x) + i / 2, load(x + i), load(x + i + kLanes));
  }
  return reinterpret_cast<const Word*>(x);
}

}  // namespace smhdr::cpu::SMHDR_ISA
