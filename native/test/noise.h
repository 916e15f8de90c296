// Procedural scenes: hashes and value noise, the same on every machine.
#pragma once

#include <cmath>
#include <cstdint>

namespace smhdr::test {

inline uint32_t hash(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}
inline float lattice(int x, int y, uint32_t seed) {
  return float(hash(uint32_t(x) * 73856093u ^ uint32_t(y) * 19349663u ^ seed)) / 4294967296.0f;
}
/// Value noise, smooth between lattice points.
inline float noise(float x, float y, uint32_t seed) {
  const float fx = std::floor(x), fy = std::floor(y);
  float tx = x - fx, ty = y - fy;
  tx = tx * tx * (3 - 2 * tx), ty = ty * ty * (3 - 2 * ty);
  const int ix = int(fx), iy = int(fy);
  const float top = lattice(ix, iy, seed) * (1 - tx) + lattice(ix + 1, iy, seed) * tx;
  const float bottom = lattice(ix, iy + 1, seed) * (1 - tx) + lattice(ix + 1, iy + 1, seed) * tx;
  return top * (1 - ty) + bottom * ty;
}

}  // namespace smhdr::test
