// The warp's matrix instructions, by the fragment layouts of the PTX manual (9.7.15, "Warp Level Matrix Instructions").
#pragma once

#include "ops/cuda/shim/intrinsics.h"

namespace smhdr::cuda_shim {

inline float from_bf16(unsigned bits) { return std::bit_cast<float>(bits << 16); }
/// Rounded to nearest, ties to even; NaN stays one.
inline uint16_t to_bf16(float value) {
  const unsigned bits = std::bit_cast<unsigned>(value);
  if (value != value) return 0x7fff;
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/// mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32: d += a b. Registers hold two values, the lower half first.
struct Product {
  float* d;
  const uint32_t *a, *b;
};
inline void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Where where) {
  Product own{d, a, b};
  warp_meet(
      0xffffffffu, &own,
      [](void* const(&given)[32], unsigned) {
        float a[16][16], b[16][8];
        for (int lane = 0; lane < 32; ++lane) {
          const auto& one = *static_cast<const Product*>(given[lane]);
          const int group = lane / 4, pair = lane % 4 * 2;
          for (int i = 0; i < 8; ++i)
            a[group + (i / 2 % 2) * 8][pair + i % 2 + (i / 4) * 8] = from_bf16(one.a[i / 2] >> (i % 2 * 16) & 0xffff);
          for (int i = 0; i < 4; ++i)
            b[pair + i % 2 + (i / 2) * 8][group] = from_bf16(one.b[i / 2] >> (i % 2 * 16) & 0xffff);
        }
        float sums[16][8] = {};
        for (int row = 0; row < 16; ++row)
          for (int k = 0; k < 16; ++k)
            for (int column = 0; column < 8; ++column) sums[row][column] += a[row][k] * b[k][column];
        for (int lane = 0; lane < 32; ++lane) {
          const auto& one = *static_cast<const Product*>(given[lane]);
          for (int i = 0; i < 4; ++i) one.d[i] += sums[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
        }
      },
      where);
}

/// ldmatrix.x4 (.trans): lane 8 m + r gives the address of row r of the 8x8 matrix m; register m gets the two values of
/// matrix m at row lane / 4, columns lane % 4 * 2 and the next (transposed: at those rows of that column).
struct Load {
  const uint16_t* row;
  uint32_t* to;
};
template <bool transposed>
void load_matrices(const void* row, uint32_t (&to)[4], Where where) {
  Load own{static_cast<const uint16_t*>(row), to};
  warp_meet(
      0xffffffffu, &own,
      [](void* const(&given)[32], unsigned) {
        const auto row = [&](int m, int r) { return static_cast<const Load*>(given[8 * m + r])->row; };
        for (int lane = 0; lane < 32; ++lane)
          for (int m = 0; m < 4; ++m) {
            const int major = lane / 4, minor = lane % 4 * 2;
            const uint16_t low = transposed ? row(m, minor)[major] : row(m, major)[minor],
                           high = transposed ? row(m, minor + 1)[major] : row(m, major)[minor + 1];
            static_cast<const Load*>(given[lane])->to[m] = low | uint32_t{high} << 16;
          }
      },
      where);
}

}  // namespace smhdr::cuda_shim
