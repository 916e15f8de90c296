// Products of bfloat16 pairs on a processor's matrix unit (Intel's AMX): a tile is 16 rows of 64 bytes. What product.h
// lays out suits it as it is: words [depth][64] are right operands, sums [output][64] are results. Left operands are 16
// outputs by 16 words. Depths are padded with zeros to whole tiles, so that one configuration serves all products.
#pragma once

#include "ops/cpu/words.h"

#if defined(SMHDR_SANITIZE_ADDRESS)
#include <sanitizer/asan_interface.h>
#endif

namespace smhdr::cpu::SMHDR_ISA {

/// To be alive where a kernel multiplies: the unit's registers, configured.
struct TileScope {
#if defined(__AMX_BF16__)
  SMHDR_MEMBER_INLINE TileScope() {
    struct alignas(64) Configuration {
      uint8_t palette = 1, start = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    };
    static constexpr Configuration configuration;
    asm volatile("ldtilecfg %0" : : "m"(configuration));
  }
  SMHDR_MEMBER_INLINE ~TileScope() { asm volatile("tilerelease"); }
  TileScope(const TileScope&) = delete;
#else
  SMHDR_MEMBER_INLINE TileScope() {}
#endif
};

#if defined(__AMX_BF16__)

// GCC 12's intrinsics tell the compiler neither which memory they read nor that they write some.
template <int Tile>
SMHDR_INLINE void tile_zero() {
  asm volatile("tilezero %%tmm%c0" : : "i"(Tile));
}
/// No sanitizer sees what a tile reads and writes.
SMHDR_INLINE void check_tile([[maybe_unused]] const void* at, [[maybe_unused]] int64_t stride) {
#if defined(SMHDR_SANITIZE_ADDRESS)
  for (int row = 0; row < kTileSide; ++row)
    if (__asan_region_is_poisoned(const_cast<char*>(static_cast<const char*>(at)) + row * stride * 4, 4 * kTileSide))
      __builtin_trap();
#endif
}
/// Rows lie `stride` words or floats apart.
template <int Tile>
SMHDR_INLINE void tile_load(const void* from, int64_t stride) {
  check_tile(from, stride);
  asm volatile("tileloadd (%1,%2,1), %%tmm%c0" : : "i"(Tile), "r"(from), "r"(stride * 4) : "memory");
}
template <int Tile>
SMHDR_INLINE void tile_store(float* to, int64_t stride) {
  check_tile(to, stride);
  asm volatile("tilestored %%tmm%c0, (%1,%2,1)" : : "i"(Tile), "r"(to), "r"(stride * 4) : "memory");
}
template <int Sum, int Left, int Right>
SMHDR_INLINE void tile_multiply() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(Sum), "i"(Left), "i"(Right));
}

/// Where the tiles of a left operand lie, in words: `row` from output to output, `step` to the next 16 words of depth.
struct TileLeft {
  const Pair* at;
  int64_t row, step;
};

/// The sums of 16 outputs and 64 tokens are tiles 0 to 3; x is words [16 depth][x_row].
SMHDR_INLINE void tile_zero_sums() {
  tile_zero<0>();
  tile_zero<1>();
  tile_zero<2>();
  tile_zero<3>();
}
SMHDR_INLINE void tile_load_sums(const float* from, int64_t stride) {
  tile_load<0>(from, stride);
  tile_load<1>(from + kTileSide, stride);
  tile_load<2>(from + 2 * kTileSide, stride);
  tile_load<3>(from + 3 * kTileSide, stride);
}
SMHDR_INLINE void tile_store_sums(float* to, int64_t stride) {
  tile_store<0>(to, stride);
  tile_store<1>(to + kTileSide, stride);
  tile_store<2>(to + 2 * kTileSide, stride);
  tile_store<3>(to + 3 * kTileSide, stride);
}
SMHDR_INLINE void tile_add_products(TileLeft left, const Pair* x, int64_t x_row, int depth) {
  for (int k = 0; k < depth; ++k) {
    tile_load<4>(left.at + k * left.step, left.row);
    const Pair* right = x + k * kTileSide * x_row;
    tile_load<5>(right, x_row);
    tile_multiply<0, 4, 5>();
    tile_load<6>(right + kTileSide, x_row);
    tile_multiply<1, 4, 6>();
    tile_load<7>(right + 2 * kTileSide, x_row);
    tile_multiply<2, 4, 7>();
    tile_load<5>(right + 3 * kTileSide, x_row);
    tile_multiply<3, 4, 5>();
  }
}

/// Calls use(output, count, sums) for every 16 outputs, sums [count][64]. `block`: words from 16 outputs to the
/// next 16. (Multiplying the next 16 before these are used is no faster.)
template <typename Use>
SMHDR_INLINE void tile_blocks(TileLeft left, int64_t block, const Pair* x, int64_t x_row, int depth, int outputs,
                              Use use) {
  alignas(64) float sums[kTileSide * kTokens];
  for (int o = 0; o < outputs; o += kTileSide, left.at += block) {
    tile_zero_sums();
    tile_add_products(left, x, x_row, depth);
    tile_store_sums(sums, kTokens);
    use(o, outputs - o < kTileSide ? outputs - o : kTileSide, sums);
  }
}

/// Calls epilogue(output, token, sum) as product() does.
template <typename Epilogue>
SMHDR_INLINE void tile_product(TileLeft left, int64_t block, const Pair* x, int depth, int outputs, Epilogue epilogue) {
  tile_blocks(
      left, block, x, kTokens, depth, outputs, [&](int o, int rows, const float* sums) __attribute__((always_inline)) {
        for (int r = 0; r < rows; ++r)
          for (int t = 0; t < kTokens; t += kLanes) epilogue(o + r, t, load(sums + r * kTokens + t));
      });
}

/// to [rows][columns] += sums [rows][64], which are columns `first` and after of it.
SMHDR_INLINE void add_tile_sums(const float* sums, int rows, int first, int columns, float* to) {
  for (int r = 0; r < rows; ++r)
    for (int c = first; c < columns && c < first + kTokens; c += kLanes) {
      const int n = columns - c < kLanes ? columns - c : kLanes;
      float* at = to + int64_t{r} * columns + c;
      store_some(at, load_some(at, n) + load(sums + r * kTokens + c - first), n);
    }
}

/// x [rows][64] as right operand of a product over tokens: words [32][row], row >= rows a multiple of 16, the rest of
/// the last 16 zero.
SMHDR_INLINE void transposed_words(const float* x, int rows, Pair* to, int64_t row) {
  for (int first = 0; first < rows; first += kLanes)
    for (int t = 0; t < kTokens; t += 2 * kLanes) {
      Vec v[kLanes];
      for (int i = 0; i < kLanes; ++i) {
        const float* from = x + (first + i) * kTokens + t;
        v[i] = first + i < rows ? (Vec)pair_along(load(from), load(from + kLanes)) : Vec{};
      }
      transpose(v);
      for (int i = 0; i < kLanes; ++i) store(to + (t / 2 + i) * row + first, (PairVec)v[i]);
    }
}

/// x [rows][64] as left tiles of a product over rows: [4][depth][16 tokens][16 words].
SMHDR_INLINE void transposed_tiles(const float* x, int rows, Pair* to) {
  const int depth = tile_depth(rows / 2);
  for (int t = 0; t < kTokens; t += kLanes)
    for (int k = 0; k < depth; ++k) {
      Vec v[kLanes];
      for (int i = 0; i < kLanes; ++i) {
        const int row = 2 * (k * kTileSide + i);
        v[i] = row < rows ? (Vec)pair(load(x + row * kTokens + t), load(x + (row + 1) * kTokens + t)) : Vec{};
      }
      transpose(v);
      Pair* tile = to + (t / kLanes * depth + k) * kTileWords;
      for (int i = 0; i < kLanes; ++i) store(tile + i * kTileSide, (PairVec)v[i]);
    }
}

#endif  // __AMX_BF16__

}  // namespace smhdr::cpu::SMHDR_ISA
